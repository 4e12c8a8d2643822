#!/usr/bin/env bash
# The source document's lines, unchanged:
#   bash run.sh train|eval|predict|inference AttentionLSTM ./configs/attention_lstm.yaml [more flags]
# inference is the document's other word for predict. Weights other than data/checkpoints/<name>_best.pdparams: --weights=PATH.
set -euo pipefail

usage="usage: bash run.sh train|eval|predict|inference MODEL_NAME CONFIG [more flags]"
if [ $# -lt 3 ]; then
    echo "$usage" >&2
    exit 2
fi
case "$1" in
    train | eval | predict) command="$1" ;;
    inference) command=predict ;;
    *)
        echo "error: $1: not a mode; $usage" >&2
        exit 2
        ;;
esac
name="$2"
config="$3"
shift 3

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$here/.venv/bin/python"
[ -x "$python" ] || python=python3
if ! "$python" -c 'import click, pydantic, yaml' 2> /dev/null; then
    echo "error: $python: the course's packages are not installed; run \`make setup\` in $here first" >&2
    exit 1
fi
PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m alstm_helpers "$command" --model_name="$name" --config="$config" "$@"
