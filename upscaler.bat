@echo off
rem Runs upscaler from the folder that install.bat has set up:  upscaler.bat ui
if not exist "%~dp0.venv\Scripts\python.exe" (
  echo upscaler is not set up yet. Run install.bat first.
  exit /b 1
)
"%~dp0.venv\Scripts\python.exe" -m upscaler %*
