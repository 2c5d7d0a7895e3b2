@echo off
rem `ws` from Windows: the same command in WSL2. Paths are Linux paths, taken from the folder of the checkout.
where wsl.exe >nul 2>nul
if errorlevel 1 (
    echo ws: this platform runs on Linux, on Windows inside WSL2. Install it as administrator: wsl --install -d Debian 1>&2
    exit /b 1
)
wsl.exe --cd "%~dp0.." --exec bin/ws %*
exit /b %ERRORLEVEL%
