#!/bin/sh
# step.sh TITLE COMMAND…: runs the command under a title and says how long it took. Its exit status is the command's.
title=$1
shift
printf '\n==> %s\n' "$title"
start=$(date +%s)
"$@"
status=$?
seconds=$(($(date +%s) - start))
if [ $status -eq 0 ]; then
    printf '==> %s: done in %d s\n' "$title" "$seconds"
else
    printf '==> %s: FAILED after %d s\n' "$title" "$seconds"
fi
exit $status
