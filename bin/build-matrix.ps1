# The predecessor's options for the image family: build-matrix.ps1 -Cuda 13.1.1 -Python 3.14 -Target ray-runtime, -Minimal,
# -All. Passed on to `ws matrix` in WSL2.
param(
    [string[]]$Cuda,
    [string[]]$Python,
    [string[]]$Target,
    [switch]$Minimal,
    [switch]$All
)
$options = @('matrix')
foreach ($value in $Cuda) { $options += '--cuda', $value }
foreach ($value in $Python) { $options += '--python', $value }
foreach ($value in $Target) { $options += '--target', $value }
if ($Minimal) { $options += '--minimal' }
if ($All) { $options += '--all' }
& (Join-Path $PSScriptRoot 'ws.ps1') @options
exit $LASTEXITCODE
