@echo off
rem Sets up upscaler in the folder .venv beside this file. Needs a 64-bit Python 3.10 or newer, and no make.
setlocal
rem pushd, unlike cd, also works where this folder is on the network
pushd "%~dp0" || goto failed
set "PY=py -3"
py -3 --version >nul 2>&1 || set "PY=python"
%PY% -c "import sys; sys.exit(sys.version_info < (3, 10) or sys.maxsize < 2**32)" >nul 2>&1
if errorlevel 1 (
  echo upscaler needs Python 3.10 or newer, 64-bit. Get it from https://www.python.org/downloads/windows/ and run this again.
  goto failed
)
%PY% -m venv .venv || goto failed
set "VENV=.venv\Scripts\python.exe"
"%VENV%" -m pip install --upgrade pip --quiet || goto failed
where nvidia-smi >nul 2>&1
if errorlevel 1 goto packages
echo An NVIDIA GPU was found. The build of PyTorch for it is a download of about 3 GB.
choice /c YN /m "Install it"
if errorlevel 2 goto packages
"%VENV%" -m pip install torch torchvision --index-url https://download.pytorch.org/whl/cu128 || goto failed
:packages
"%VENV%" -m pip install ".[ui]" || goto failed
echo.
echo Done. To start the app, open upscaler.bat with a double click, or type:  .\upscaler.bat
popd
pause
exit /b 0
:failed
echo.
echo It was not set up. The lines above say why; docs\install.md has a list of remedies.
popd
pause
exit /b 1
