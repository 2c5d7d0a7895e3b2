"""The files of an earlier deployment, as they can be written back."""

from config.masking import MASK, encrypted_throughout
from config.stack_file import StackFile
from config.yaml_file import InvalidYamlError, parse_yaml
from stack.history import Record
from ws.config.edit import with_value
from ws.errors import WsError

SALT = "encryptionsalt"


def restored_texts(now: StackFile, record: Record) -> dict[str, str]:
    """Name → text. Secrets in plain text, which no record holds, are those of the stack file of now.

    Raises:
        WsError: the record has no files or one that is refused today, or now's file lacks such a secret.
    """
    if now.name not in record.files:
        raise WsError(f"number {record.number} of the history holds no stack file; it was too large to be kept.")
    text = record.files[now.name]
    try:
        parse_yaml(text)
    except InvalidYamlError as error:  # an earlier release accepted more
        raise WsError(
            f"{now.name} as number {record.number} of the history has it cannot be used: {error}. Nothing was changed."
        ) from error
    config = now.content.get("config") or {}
    for key in record.masked:
        if config.get(key) in (None, MASK):
            raise WsError(
                f"{now.name}: {key}: was in plain text in number {record.number} of the history, which keeps no "
                f"secrets, and is not set now. Set it, and run this again:\n"
                f"    ws set {key.partition(':')[2] or key} -s {now.stack}"
            )
        text = with_value(text, ("config", key), config[key])
        if encrypted_throughout(config[key]):  # since then
            text = _with_salt(text, now, record)
    return {**record.files, now.name: text}


def _with_salt(text: str, now: StackFile, record: Record) -> str:
    """The text with the salt that now's encrypted values need."""
    salt = now.content.get(SALT)
    if (parse_yaml(text) or {}).get(SALT) not in (None, salt):
        raise WsError(
            f"{now.name}: its secrets are encrypted with another {SALT} than those of number {record.number} of the "
            f"history, so that both cannot stand in one file. Nothing was changed."
        )
    return with_value(text, (SALT,), salt)
