@echo off
rem The predecessor's phases of the image family: build-phase.bat phase1 ... phase4. Passed on to `ws matrix` in WSL2.
if "%~1"=="phase1" goto build
if "%~1"=="phase2" goto build
if "%~1"=="phase3" goto build
if "%~1"=="phase4" goto build
echo Usage: build-phase.bat phase1^|phase2^|phase3^|phase4 (runtime, ray-runtime, marimo-runtime, devel images) 1>&2
exit /b 2
:build
set "phase=%~1"
call "%~dp0ws.cmd" matrix --phase %phase:~5%
exit /b %ERRORLEVEL%
