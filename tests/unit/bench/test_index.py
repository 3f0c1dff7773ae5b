"""The prepared indexes have the rows that pushes would have left."""

import hashlib
from contextlib import closing
from pathlib import Path

from bench.configurations import BLOBS
from bench.index import INDEX, TAGGED, fill_for_lists, fill_manifests, repository_name, tag_name
from entrepot.db.sqlite import connect


def test_lists_have_as_many_repositories_and_tags_as_asked(tmp_path: Path) -> None:
    fill_for_lists(tmp_path, count=120)
    with closing(connect(tmp_path / INDEX)) as index:
        names = [row[0] for row in index.execute("SELECT name FROM repositories ORDER BY name")]
        tags = index.execute(
            "SELECT tags.name FROM tags JOIN repositories ON repositories.id = repository_id"
            " WHERE repositories.name = ? ORDER BY tags.name",
            (TAGGED,),
        ).fetchall()
        assert not index.execute("PRAGMA foreign_key_check").fetchall()
    assert names == [*(repository_name(n) for n in range(1, 121)), TAGGED]
    assert [row[0] for row in tags] == [tag_name(n) for n in range(1, 121)]


def test_manifests_are_as_many_as_asked_and_nothing_waits_for_a_sync(tmp_path: Path) -> None:
    fill_manifests(tmp_path, count=25, per_repository=10)
    with closing(connect(tmp_path / INDEX)) as index:
        assert index.execute("SELECT count(*) FROM manifests").fetchone() == (25,)
        assert index.execute("SELECT count(*) FROM repositories").fetchone() == (3,)
        assert index.execute("SELECT count(*) FROM blobs WHERE NOT synced").fetchone() == (0,)
        assert not index.execute("PRAGMA foreign_key_check").fetchall()


def test_configs_lie_where_the_registry_looks_for_them_if_they_are_asked_for(
    tmp_path: Path,
) -> None:
    fill_manifests(tmp_path, count=7, files=True)
    with closing(connect(tmp_path / INDEX)) as index:
        needed = index.execute(
            "SELECT lower(hex(substr(manifest_blobs.digest, 2)))"
            " FROM manifest_blobs"
            " JOIN manifests ON manifests.id = manifest_id"
            " AND manifests.repository_id = manifest_blobs.repository_id"
        ).fetchall()
    stored = {file.parent.name for file in (tmp_path / BLOBS).glob("sha256/*/*/data")}
    assert len(stored) == 7
    assert stored <= {row[0] for row in needed}
    for file in (tmp_path / BLOBS).glob("sha256/*/*/data"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.parent.name
