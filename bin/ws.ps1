# `ws` from Windows: the same command in WSL2. Paths are Linux paths, taken from the folder of the checkout.
if (-not (Get-Command wsl.exe -ErrorAction SilentlyContinue)) {
    [Console]::Error.WriteLine('ws: this platform runs on Linux, on Windows inside WSL2. Install it as administrator: wsl --install -d Debian')
    exit 1
}
& wsl.exe --cd (Split-Path -Parent $PSScriptRoot) --exec bin/ws @args
exit $LASTEXITCODE
