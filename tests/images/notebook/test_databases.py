"""The databases' drivers of docs/packages.md with real servers: PostgreSQL and MariaDB."""

from __future__ import annotations

import io
import textwrap
import uuid
from collections.abc import Iterator

import docker
import pytest

from tests.built import wait_until
from tests.images.notebook.test_packages import Z, built, native
from toolchain import base

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Of the page's set: what talks to these two. The others have no server that Debian has.
CLIENTS = (
    *("python3-pandas", "python3-sqlalchemy", "python3-psycopg", "python3-pymysql"),
    *("python3-pyodbc", "odbc-postgresql", "odbc-mariadb"),
)

#: Both servers, natively, as the engine's machine would have them.
SERVERS = f"""
FROM {base.BUILD}
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends \
    install mariadb-server postgresql >/dev/null
"""

SERVE = """
    cd /etc/postgresql/*/main
    echo "listen_addresses = '*'" >>postgresql.conf
    echo "host all all all scram-sha-256" >>pg_hba.conf
    pg_ctlcluster $(basename $(dirname $PWD)) main start
    su postgres -c "psql -qc \\"create role alice login superuser password 'wonder land'\\""
    su postgres -c "createdb -O alice alice"
    mkdir -p /run/mysqld && chown mysql /run/mysqld
    mariadbd --user=mysql --bind-address=0.0.0.0 &
    until mariadb -e "create database alice; create user alice identified by 'wonder land';
                      grant all on alice.* to alice" 2>/dev/null; do sleep 0.5; done
    echo both serve
    wait
    """

#: Writes a table by each way, and reads it back. All kinds of values, also such that show the order
#: of bytes: integers of two and more bytes, floats, binary parameters.
USE = """
    import datetime, decimal, sys, urllib.parse
    import pandas, pyodbc, sqlalchemy
    frame = pandas.DataFrame({
        "id": [1, 70000, 2**40], "x": [1.5, -2.25, 1e300], "s": ["Grüße", "漢字", None],
        "t": pandas.to_datetime(["2026-01-01T12:30:01", "1999-12-31", "2026-11-30"],
                                format="ISO8601"),
        "b": [b"\\x00\\x01", b"\\xff", b""], "f": [True, False, True],
    })
    quoted = urllib.parse.quote("wonder land")
    at = f"alice:{quoted}@databases/alice"
    odbc = "SERVER=databases;DATABASE=alice;UID=alice;PWD=wonder land;CHARSET=utf8mb4"
    ways = {
        "psycopg": sqlalchemy.create_engine(f"postgresql+psycopg://{at}"),
        "pymysql": sqlalchemy.create_engine(f"mysql+pymysql://{at}?charset=utf8mb4"),
        "odbc": sqlalchemy.create_engine("mysql+pyodbc:///?odbc_connect="
            + urllib.parse.quote(f"DRIVER={{MariaDB Unicode}};{odbc}")),
    }
    def same(found):
        return (found["id"].tolist() == frame["id"].tolist()
            and found["x"].tolist() == frame["x"].tolist()
            and found["s"].tolist() == frame["s"].tolist()
            and pandas.to_datetime(found["t"]).tolist() == frame["t"].tolist()
            and [bytes(b) for b in found["b"]] == frame["b"].tolist()
            and [bool(f) for f in found["f"]] == frame["f"].tolist())
    print("JupyterHub's own", sqlalchemy.__file__.startswith("/opt/jupyter/"))
    for name, engine in ways.items():
        frame.to_sql(name, engine, index=False, dtype={"b": sqlalchemy.LargeBinary})
        with engine.connect() as connection:
            table = f"select * from {name} where id >= 1 and x < 2e300 order by id"
            print(name, same(pandas.read_sql(sqlalchemy.text(table), connection)))
            ask = "select cast(:d as decimal(20, 4)), cast(:t as date), :n + 1"
            day = datetime.date(2026, 1, 2)
            given = {"d": decimal.Decimal("12345678901.0625"), "t": day, "n": 2**33}
            found = connection.execute(sqlalchemy.text(ask), given).one()
            print(name, tuple(found) == (given["d"], day, 2**33 + 1))
    # The binary form, in which numbers have an order of bytes.
    import psycopg
    where = "host=databases dbname=alice user=alice password='wonder land'"
    with psycopg.connect(where) as direct:
        row = direct.cursor(binary=True).execute(
            "select %b::int2, %b::int8, %b::float8, %b::numeric, %b::timestamp, %b",
            (258, 2**40, 1.5, decimal.Decimal("1.0625"), datetime.datetime(2026, 1, 2, 3), "ü"),
        ).fetchone()
        print("binary", row == (258, 2**40, 1.5, decimal.Decimal("1.0625"),
                                datetime.datetime(2026, 1, 2, 3), "ü"))
    direct = pyodbc.connect(f"DRIVER={{PostgreSQL Unicode}};{odbc}")
    row = direct.execute("select id, x, s, t, b from psycopg where id = ?", 2**40).fetchone()
    print("PostgreSQL by ODBC", tuple(row) == (
        2**40, 1e300, None, datetime.datetime(2026, 11, 30), b""))
    row = direct.execute("select s, x from psycopg where s = ?", "Grüße").fetchone()
    print("PostgreSQL by ODBC", tuple(row) == ("Grüße", 1.5))
    """

ALL = [
    "JupyterHub's own",
    *("psycopg", "psycopg", "pymysql", "pymysql", "odbc", "odbc", "binary"),
    *("PostgreSQL by ODBC", "PostgreSQL by ODBC"),
]


@pytest.fixture
def network(engine: docker.DockerClient) -> Iterator[str]:
    """A network without a way out, with both servers in it."""
    image, _ = engine.images.build(fileobj=io.BytesIO(SERVERS.encode()), tag="zhub-test:databases")
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    made = engine.networks.create(name, internal=True)
    command = ["bash", "-euc", textwrap.dedent(SERVE)]
    servers = engine.containers.create(image, command)
    made.connect(servers, aliases=["databases"])
    try:
        servers.start()
        wait_until(lambda: b"both serve" in servers.logs(), seconds=120)
        yield name
    finally:
        servers.remove(force=True, v=True)
        made.remove()
        engine.images.remove("zhub-test:databases")


@pytest.mark.parametrize("reader", ["s390x", "pc"])
def test_tables_are_written_and_read(
    engine: docker.DockerClient, network: str, reader: str
) -> None:
    platform = Z if reader == "s390x" else native(engine)
    image = built(engine, f"databases-{reader}", *CLIENTS, platform=platform)
    script = f"python3 - <<'END'\n{textwrap.dedent(USE)}END"
    printed = engine.containers.run(
        image, ["bash", "-euc", script], platform=platform, network=network, remove=True
    )
    assert isinstance(printed, bytes)
    assert printed.decode().splitlines() == [f"{name} True" for name in ALL]
