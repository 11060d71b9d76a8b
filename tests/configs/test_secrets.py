"""Secrets are refused where a recipe is read, and hidden wherever something is written."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from written_run import manifest_of

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import dump, load
from clinical_modernbert.configs.loader.recipes import PACKAGED
from clinical_modernbert.configs.reporting import configure, report_error
from clinical_modernbert.configs.secrets import find_secret, is_secret_name, scrub, scrub_tree
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.doctor.finding import Finding
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest
from clinical_modernbert.training.recipe.config import RunConfig

NAMES = [
    "password", "db_password", "PGPASSWORD", "passwd", "secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "token",
    "HF_TOKEN", "access-token", "api_key", "apiKey", "WANDB_API_KEY", "x-api-key", "account_key", "credentials",
    "GOOGLE_APPLICATION_CREDENTIALS", "authorization", "private_key", "signature", "sig", "sas_token",
]  # fmt: skip
QUERIES = ["sig", "token", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "key"]
ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
SECRETS = st.text(ALPHABET, min_size=12, max_size=40).map(lambda text: f"S3cr{text}")
AROUND = st.text("abc /:.,-\n()", max_size=12)
SCHEMES = st.sampled_from(["http", "https", "s3", "postgresql", "mlflow+https", "redis", "az", "ftp"])


@st.composite
def leaks(draw: st.DrawFn) -> tuple[str, str]:
    """A secret, and a text with it in a place where secrets are found."""
    secret, name, scheme = draw(SECRETS), draw(st.sampled_from(NAMES)), draw(SCHEMES)
    odd = draw(st.text(ALPHABET + "@:!$&'()*+,;=%-_~", max_size=8))
    text = draw(
        st.sampled_from(
            [
                f"{scheme}://bob:{secret}{quote(odd, safe='')}@host.example:5000/path?x=1",
                f"{scheme}://bob:{odd}{secret}@host.example",
                f"{scheme}://:{secret}@host",
                f"https://{secret}@host/repository.git",
                *(f"{scheme}://host/a/b?sv=2020&{query}={secret}&se=1" for query in QUERIES),
                *(f"{scheme}://host/a?{query.lower()}={secret}" for query in QUERIES),
                f"export {name}={secret}",
                f"--{name}={secret}",
                f"{name} = '{secret} {secret}'",
                f'{{"{name}": "{secret}"}}',
                f"Authorization: Bearer {secret}",
                f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={secret}==;EndpointSuffix=y",
            ]
        )
    )
    return secret, text


@given(leaks(), AROUND, AROUND)
def test_no_secret_remains_in_a_text(leak: tuple[str, str], before: str, after: str) -> None:
    secret, text = leak
    shown = scrub(f"{before} {text} {after}")
    assert secret not in shown
    assert scrub(shown) == shown
    assert find_secret((), text)


@given(SECRETS, st.sampled_from(NAMES), st.lists(st.sampled_from(["a", "b", 0]), max_size=3))
def test_no_secret_remains_in_a_tree(secret: str, name: str, path: list[str | int]) -> None:
    tree: object = {name: secret, "kept": 5, "url": f"https://u:{secret}@h/p"}
    for key in path:
        tree = [tree] if key == 0 else {key: tree}
    shown = json.dumps(scrub_tree(tree))
    assert secret not in shown
    assert '"kept": 5' in shown
    assert "@h/p" in shown
    assert find_secret((name,), secret)


@pytest.mark.parametrize(
    "text", ["AKIAIOSFODNN7EXAMPLE", "hf_" + "a1" * 17, "ghp_" + "b2" * 18, "eyJhbGciOiJI.eyJzdWIiOiIx.c_-2"]
)
def test_keys_of_a_known_form_are_found_without_a_name(text: str) -> None:
    assert text not in scrub(f"the key {text}, written anywhere")


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/path", "abfs://container@account.dfs.core.windows.net/x", "user@host.example", "http://host:5000/a@b",
        "schedule.total_tokens=20480000", "expected key=value with a dotted key", "tokens=5", "data.masking=token",
        "export HF_TOKEN=$HF_TOKEN", 'curl -H "Authorization: Bearer $TOKEN"', "pad_token=[PAD]",
        "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN, with one that may write",
        "file.yaml:3: tokenizer: expected a path", "https://host/page?page=3&sort=key",
    ],
)  # fmt: skip
def test_other_texts_stay(text: str) -> None:
    assert scrub(text) == text


def test_names() -> None:
    assert all(map(is_secret_name, NAMES))
    for name in ("total_tokens", "tokenizer", "mask_token", "pass_secret", "pass_env", "secrets", "monkey", "masking"):
        assert not is_secret_name(name), name


def _recipe(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({"extends": "tiny", **changes}))
    return path


@given(leaks())
def test_a_recipe_with_a_secret_is_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, leak: tuple[str, str]
) -> None:
    secret, text = leak
    recipe = _recipe(tmp_path_factory.getbasetemp() / "recipe.yaml", metrics={"mlflow_uri": text})
    with pytest.raises(UserError, match=r"recipe\.yaml:\d+: metrics\.mlflow_uri: .*MLFLOW_TRACKING_PASSWORD") as error:
        load(RunConfig, recipe)
    assert secret not in str(error.value)
    with pytest.raises(UserError) as error:
        load(RunConfig, _recipe(recipe), [f"data.path={json.dumps(text)}"])
    assert secret not in str(error.value)


def test_secrets_in_a_cluster_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    for text in (
        "ranks_per_node: 1\nsetup: [export WANDB_API_KEY=S3cret1234]\n",
        "ranks_per_node: 1\nenv: {HTTPS_PROXY: 'http://bob:S3cret1234@proxy:80'}\n",
        "ranks_per_node: 1\nenv: {HF_TOKEN: S3cret1234}\n",
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=r"cluster\.yaml:\d+: .*pass_env") as error:
            load(ClusterConfig, file)
        assert "S3cret1234" not in str(error.value)


@pytest.mark.parametrize("recipe", sorted(PACKAGED.glob("**/*.yaml")), ids=lambda path: path.name)
def test_packaged_recipes_have_no_secrets(recipe: Path) -> None:
    assert scrub(recipe.read_text()) == recipe.read_text()


@given(leaks())
def test_copies_of_a_configuration_have_no_secret(leak: tuple[str, str]) -> None:
    """The second wall: also a configuration that was not loaded from a recipe."""
    secret, text = leak
    config = load(RunConfig, PACKAGED / "tiny.yaml")
    config = config.model_copy(update={"metrics": config.metrics.model_copy(update={"mlflow_uri": text})})
    assert secret not in dump(config)
    manifest = manifest_of(4).model_copy(update={"config": config.model_dump(mode="json"), "data_address": text})
    assert secret not in manifest.model_dump_json()
    assert secret not in json.dumps(manifest.model_dump(mode="json"))


def test_messages_and_errors_have_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logger = logging.getLogger("clinical_modernbert.test")
    logger.info("trying https://u:S3cret1234@h")
    try:
        raise ValueError("https://u:S3cret1234@h")
    except ValueError:
        logger.exception("failed")
    report_error(UserError("s3://b/x?X-Amz-Signature=S3cret1234: refused"))
    shown = "".join(capsys.readouterr())
    assert "S3cret1234" not in shown
    assert shown.count("***") >= 3


def test_a_crash_shows_its_traceback_without_secrets() -> None:
    program = (
        "from clinical_modernbert.configs.reporting import configure; configure(); "
        "raise ValueError('https://u:' + 'S3cret1234' + '@h')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "ValueError: https://u:***@h" not in ended.stdout
    assert "ValueError: https://***@h" in ended.stderr


@given(leaks())
def test_doctor_shows_no_secret(leak: tuple[str, str]) -> None:
    secret, text = leak
    assert secret not in repr(Finding("store", "failed", f"no answer from {text}", text))


def test_a_manifest_that_an_earlier_version_wrote_is_shown_without_secrets() -> None:
    content = manifest_of(4).model_dump(mode="json")
    content["config"] = {"metrics": {"mlflow_uri": "http://bob:S3cret1234@host"}}
    content["data_address"] = "https://store/x?sig=S3cret1234"
    assert "S3cret1234" not in repr(CheckpointManifest.model_validate(content))


def test_long_names_and_tokens_are_hidden() -> None:
    """Bounds on repetitions are above what is in use: web servers take headers of at most 16 KB."""
    assert "s3cr3t" not in scrub(f"{'A_LONG_NAME' * 5}_OF_THE_{'WAREHOUSE' * 5}_PASSWORD=s3cr3t")
    part = "Ab9_-" * 3_000
    assert scrub(f"sent eyJ{part}.eyJ{part}.{part} there") == "sent *** there"


@pytest.mark.parametrize(
    "piece",
    ["f", "_", "-", ".", "%", ":", "x://:", "-eyJaaaaaa", "-eyJaaaaaa.eyJ", "?_", "&a", '"', "'token':'", "token=",
     "a_", "bearer ", "authorization ", "http://a@", "password", "secret_", "_key", "?X-Amz-a", " ", "é"],
)  # fmt: skip
def test_the_time_is_proportional_to_the_length(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    started = time.process_time()
    scrub(text)
    is_secret_name(text)
    assert time.process_time() - started < 8  # a second or less; squared it would be minutes


def test_in_a_pod_key_names_a_label_or_a_taint() -> None:
    pod = {"tolerations": [{"key": "nvidia.com/gpu", "token": "a1b2"}]}
    assert scrub_tree({"kubernetes": {"pod": pod}}) == {
        "kubernetes": {"pod": {"tolerations": [{"key": "nvidia.com/gpu", "token": "***"}]}}
    }
    assert find_secret(("kubernetes", "pod", "tolerations", 0, "key"), "nvidia.com/gpu") is None
    assert find_secret(("other", "key"), "nvidia.com/gpu")
