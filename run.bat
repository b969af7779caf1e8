@echo off
rem Opens Lorasmith in the browser, after install.bat. Options are those of "lorasmith".
if not exist "%~dp0.venv\Scripts\lorasmith.exe" (
    echo Lorasmith is not installed yet. Run install.bat first.
    pause
    exit /b 1
)
"%~dp0.venv\Scripts\lorasmith.exe" %*
if errorlevel 1 pause
