"""The recipes of docs/analysts.md, one after the other. Each piece below a line of dashes stands there word for word."""
# ---- setup
import os

address = os.environ["HUB_ADDRESS"]  # host and port
token = os.environ["HUB_TOKEN"]
with open(os.environ["HUB_CA"]) as file:
    ca = file.read()
# ---- adbc
import adbc_driver_flightsql.dbapi
from adbc_driver_flightsql import DatabaseOptions

connection = adbc_driver_flightsql.dbapi.connect(
    f"grpc+tls://{address}",
    db_kwargs={
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
        DatabaseOptions.TLS_ROOT_CERTS.value: ca,
        DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "arrow-compression": "lz4",
    },
    autocommit=True,
)
with connection.cursor() as cursor:
    cursor.execute("SELECT name_zh FROM cities WHERE site = 440100")
    print("adbc", cursor.fetchall())
# ---- parameters
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM members WHERE qualification_level = $1", ["ASSISTANT"])
    print("parameters", cursor.fetchone()[0])
# ---- pandas
import pandas

members = pandas.read_sql("SELECT * FROM members", connection)
print("pandas", len(members), members["qualification_level"].nunique())
# ---- polars
import polars

members = polars.read_database("SELECT * FROM members", connection)
print("polars", members.height, members.group_by("site").len().height)
# ---- duckdb
import duckdb

with connection.cursor() as cursor:
    cursor.execute("SELECT * FROM members")
    members = cursor.fetch_arrow_table()
print("duckdb", duckdb.sql("SELECT count(DISTINCT site) FROM members").fetchall()[0][0])
# ---- flight
from pyarrow import flight


def command(sql):
    """CommandStatementQuery of Flight SQL, as it travels."""

    def field(number, value):
        length, size = len(value), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + value

    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return field(1, name) + field(2, field(1, sql.encode()))


client = flight.FlightClient(f"grpc+tls://{address}", tls_root_certs=ca)
authorization = (b"authorization", f"Bearer {token}".encode())
shown = flight.FlightCallOptions(headers=[authorization, (b"arrow-compression", b"lz4")])
descriptor = flight.FlightDescriptor.for_command(command("SELECT * FROM members"))
info = client.get_flight_info(descriptor, shown)
members = client.do_get(info.endpoints[0].ticket, shown).read_all()
print("flight", members.num_rows, info.total_records in (-1, members.num_rows))
# ---- download
import ssl
import urllib.request

trusted = ssl.create_default_context(cadata=ca)


def download(path, file):
    request = urllib.request.Request(f"https://{address}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=trusted) as answer, open(file, "wb") as out:
        out.write(answer.read())


download("/releases/latest/members.parquet", "members.parquet")
print("download", polars.read_parquet("members.parquet").height, pandas.read_parquet("members.parquet").shape[0])
print("in duckdb", duckdb.sql("SELECT count(*) FROM 'members.parquet'").fetchall()[0][0])
# ---- csv
import csv

download("/releases/latest/members.csv", "members.csv")
with open("members.csv", encoding="utf-8-sig", newline="") as file:
    rows = list(csv.DictReader(file))
print("csv", len(rows), rows[0]["site"])
# ---- changes
download("/releases/1/members.parquet", "mine.parquet")
download("/releases/latest/changes/members.parquet?since=1", "changes.parquet")
mine = polars.read_parquet("mine.parquet")
changes = polars.read_parquet("changes.parquet")
mine = mine.join(changes, on="record_id", how="anti")
mine = polars.concat([mine, changes.filter(polars.col("change") != "removed").drop("change")])
newest = polars.read_parquet("members.parquet")
print("changes", changes.height, mine.sort("record_id").equals(newest.sort("record_id")))
# ---- pinned
pinned = polars.read_database("SELECT count(*) AS members FROM r000001.members", connection)
print("pinned", pinned["members"][0])
# ---- end
connection.close()
