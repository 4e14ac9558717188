@echo off
rem Runs upscaler from the folder that install.bat has set up; without arguments it opens the app.
setlocal
rem what is installed, not the source in this folder (Python 3.11 and newer)
set "PYTHONSAFEPATH=1"
set "PYTHON=%~dp0.venv\Scripts\python.exe"
if not exist "%PYTHON%" (
  echo upscaler is not set up yet. Run install.bat first.
  if "%~1"=="" pause
  exit /b 1
)
if "%~1"=="" goto app
"%PYTHON%" -m upscaler %*
exit /b
:app
"%PYTHON%" -m upscaler ui
if errorlevel 1 pause
