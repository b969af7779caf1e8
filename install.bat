@echo off
rem Installs Lorasmith into .venv beside this file, on Windows. Options go to install.py.
setlocal
cd /d "%~dp0"
set "NEWER=import sys; sys.exit(sys.version_info < (3, 11))"

py -3 -c "%NEWER%" >nul 2>&1
if not errorlevel 1 (
    py -3 install.py %*
    goto end
)
python -c "%NEWER%" >nul 2>&1
if not errorlevel 1 (
    python install.py %*
    goto end
)
echo Lorasmith needs Python 3.11 or newer, and none was found.
echo Install it from python.org (tick "Add python.exe to PATH"), then run this again.
pause
exit /b 1

:end
set "FAILED=%errorlevel%"
rem A window that was opened by a double click must stay until it was read.
pause
exit /b %FAILED%
