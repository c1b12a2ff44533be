"""Times of a user's own table: seconds in UTC, and what can be read in two ways is an error."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.times import TimeRange, read_times, shown
from recbole_clickprompt.errors import DataError, SettingError
from tests.conftest import slow_but


class Read(NamedTuple):
    seconds: pl.Series
    form: str
    merged: int


def read(values, **how):
    """Times of a column, which are the same in batches of one row and at once."""
    frame = (values if isinstance(values, pl.Series) else pl.Series(values, strict=False)).rename("t").to_frame()
    found = []
    for size in (1, len(frame)):

        def tables(size=size):
            for start in range(0, len(frame), size):
                yield TextTable(frame[start : start + size], "x.csv", lambda row, start=start: start + row + 2)

        with tempfile.TemporaryDirectory() as folder:
            times = read_times(tables, "t", Path(folder), **how)
            found.append(Read(pl.concat(times.batches()), times.form, times.merged))
    assert found[0].seconds.equals(found[1].seconds)
    assert found[0][1:] == found[1][1:]
    return found[0]


def time_notes(column, times):
    found = TimeRange()
    for seconds in times.seconds:
        found.add(pl.Series([seconds]))
    return found.notes(column, times.merged)


def texts(values, **how):
    return [None if seconds is None else shown(seconds) for seconds in read(values, **how).seconds]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2024-05-31", "2024-05-31 00:00:00"),
        (" 2024/5/1 9:05 ", "2024-05-01 09:05:00"),
        ("2024.05.31 12:00:01", "2024-05-31 12:00:01"),
        ("2024-05-31T12:00:00Z", "2024-05-31 12:00:00"),
        ("2024-05-31 12:00:00 UTC", "2024-05-31 12:00:00"),
        ("2024-05-31 00:30:00+02:00", "2024-05-30 22:30:00"),
        ("2024-05-31 12:00 -0330", "2024-05-31 15:30:00"),
        ("2024-05-31 12:00 am", "2024-05-31 00:00:00"),
        ("5/31/2024 1:02:03 PM", "2024-05-31 13:02:03"),
        ("31.5.2024", "2024-05-31 00:00:00"),
        ("31-05-2024, 23:59", "2024-05-31 23:59:00"),
    ],
)
def test_dates_are_read_whatever_their_separators_clock_and_zone(value, time):
    assert texts([value, None, "NA"]) == [time, None, None]


def test_one_date_shows_how_all_begin():
    assert texts(["1/2/2018", "13/2/2018"]) == ["2018-02-01 00:00:00", "2018-02-13 00:00:00"]
    assert read(["1/2/2018", "13/2/2018"]).form == "dates, the day first"
    assert texts(["1/2/2018", "2/13/2018"]) == ["2018-01-02 00:00:00", "2018-02-13 00:00:00"]
    assert read(["1/2/2018", "2/13/2018"]).form == "dates, the month first"


def test_dates_that_may_begin_either_way_want_an_option():
    message = "x.csv, line 3, column t: dates such as '1.2.2018' .* --day-first or --month-first, or with"
    with pytest.raises(DataError, match=message):
        read([None, "1.2.2018", "3.4.2018 10:00"])
    assert texts(["1.2.2018"], day_first=True) == ["2018-02-01 00:00:00"]
    assert texts(["1.2.2018"], day_first=False) == ["2018-01-02 00:00:00"]
    assert texts(["1.2.2018"], date_format="%d.%m.%Y") == ["2018-02-01 00:00:00"]


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (
            ["1/13/2018", "13/1/2018"],
            {},
            "line 3, column t: '13/1/2018' begins with the day, but line 2",
        ),
        (
            ["1/13/2018"],
            {"day_first": True},
            r"line 2, column t: '1/13/2018' is no valid time \(dates, the day",
        ),
        (["2018-02-30"], {}, "line 2, column t: '2018-02-30' is no valid time"),
        (["2018-02-03 13:00 pm"], {}, "line 2, column t: .* is no valid time"),
        (
            ["2018-02-03", "soon"],
            {},
            "line 3, column t: 'soon' is no number and no time .* with --date-format",
        ),
        (["1/2/18"], {}, "'1/2/18' is no number and no time .* say how with --date-format"),
        (["3 May 2018"], {}, "'3 May 2018' is no number and no time"),
        (
            ["3 May 18", "4 Mai 18"],
            {"date_format": "%d %b %y"},
            "line 3, .* '4 Mai 18' is no time of the form",
        ),
        (["20180901", "20180902"], {}, "numbers such as 20180901 look like dates.*--date-format %Y%m%d$"),
        ([20180901.0, 20180931.0, 20180902.0], {}, "--date-format %Y%m%d$"),
        (["2018090110"], {}, "--date-format %Y%m%d%H$"),
        ([201809011030], {}, "--date-format %Y%m%d%H%M$"),
        (["20180901103000"], {}, "--date-format %Y%m%d%H%M%S$"),
        (["1700000000000", "1700000000"], {}, "line 3, .* '1700000000' is too small for milliseconds since 1970"),
        (["1", "inf"], {}, "line 3, column t: 'inf' is infinite"),
        ([1.0, float("-inf")], {}, "line 3, column t: -inf is infinite"),
        (["9223372036854775808"], {}, "line 2, column t: '9223372036854775808' is beyond 64 bits"),
        ([True], {}, "x.csv, column t: Boolean is no time"),
    ],
)
def test_times_that_are_wrong_or_unclear_are_refused(values, how, message):
    with pytest.raises(DataError, match=message):
        read(values, **how)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("mixed", "must hold codes such as %Y-%m-%d, got 'mixed'"),
        ("%Q", "'%Q': 'Q' is a bad directive"),
    ],
)
def test_a_date_format_has_the_codes_of_strptime(form, message):
    with pytest.raises(SettingError, match=message):
        read(["2018"], date_format=form)


@pytest.mark.parametrize("values", [["20180901", "NA"], ["20180901.0", None], [20180901, None]])
def test_dates_written_as_numbers_are_read_by_a_format(values):
    assert texts(values, date_format="%Y%m%d") == ["2018-09-01 00:00:00", None]


def test_a_format_reads_months_short_years_and_zones():
    assert texts(["1 Feb 18 +0200"], date_format="%d %b %y %z") == ["2018-01-31 22:00:00"]


@pytest.mark.parametrize("power", [0, 3, 6, 9])
def test_the_unit_of_numbers_is_known_by_their_size(power):
    times = read([str(1_700_000_000 * 10**power), "0", "NA"])
    assert times.seconds.to_list() == [1_700_000_000, 0, None]
    assert times.seconds.dtype == pl.Int64
    assert (
        times.form
        == ["seconds", "", "", "milliseconds", "", "", "microseconds", "", "", "nanoseconds"][power]
        + " since 1970"
    )


def test_parts_of_a_second_are_kept():
    assert read(["1700000000123", "1700000000124"]).seconds.to_list() == [1700000000.123, 1700000000.124]
    assert read(["2023-11-14 22:13:20.123456"]).seconds.to_list() == [1700000000.123456]
    assert read(pl.Series([-1500], dtype=pl.Datetime("ms"))).seconds.to_list() == [-1.5]
    assert read(["1700000000.5", "1"]).seconds.to_list() == [1700000000.5, 1]
    assert read(pl.Series([1500], dtype=pl.Datetime("ms", "Europe/Berlin"))).seconds.to_list() == [1.5]
    assert read(pl.Series(["1.5", "2"]).cast(pl.Decimal(9, 2))).seconds.to_list() == [1.5, 2]
    assert read(["9007199254740993"]).seconds.to_list() == [9007199254.740993]
    assert read(pl.Series([1], dtype=pl.Date)).seconds.to_list() == [86400]


def test_odd_times_are_noted():
    assert time_notes("t", read(["2018-01-01"])) == []
    assert time_notes("t", read(["1979-12-31", "0001-02-03", "2018-01-01", "3018-01-01"])) == [
        "t: 2 times are before 1980, the first 0001-02-03 00:00:00",
        "t: 1 time is in the future, the last 3018-01-01 00:00:00",
    ]
    nanoseconds = read(["1700000000123456789", "1700000000123456788"])
    assert time_notes("t", nanoseconds) == ["t: 1 time is the same as another to a microsecond"]


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["20180901", "20180902", "0"], "%Y%m%d"),
        (["20180901", "20180902", "99991231", "-1"], "%Y%m%d"),
        ([20180901, 20180902, 99991231, None], "%Y%m%d"),
        (["01022018", "03022018"], "%d%m%Y or %m%d%Y"),
        ([1022018, 3022018], "%d%m%Y or %m%d%Y"),
        (["13022018", "03022018"], "%d%m%Y"),
        (["02132018", "02032018"], "%m%d%Y"),
        ([2132018.0, 2032018.0], "%m%d%Y"),
        (["20180101101112123", "20180102101112124"], "%Y%m%d%H%M%S%f"),
        (["180101", "180102"], "%y%m%d"),
    ],
)
def test_whole_numbers_that_are_dates_want_a_format(values, form):
    with pytest.raises(
        DataError, match=rf"x.csv, column t: numbers such as .* look like dates.*--date-format {form}$"
    ):
        read(values)


@pytest.mark.parametrize("power", slow_but([0, 9], [0, 3, 6, 9]))
@pytest.mark.parametrize("first", [1, 10**6, 20_180_101, 31_536_000, 315_532_800, 1_700_000_000, 2_018_010_100])
def test_seconds_of_any_year_from_1970_to_2100_are_no_dates(first, power):
    numbers = [(first + 97_001 * n) * 10**power for n in range(200)]
    if numbers[0] >= [0, 10**11, 10**14, 10**17][power // 3]:
        assert read(numbers).seconds[0] == first


@pytest.mark.parametrize("values", [["01022018", "1022018"], [1022018, 1022018], [1022018.0, None]])
def test_a_lost_zero_at_the_beginning_of_a_date_is_no_other_date(values):
    assert texts(values, date_format="%d%m%Y")[0] == "2018-02-01 00:00:00"
    assert texts(values, date_format="%m%d%Y")[0] == "2018-01-02 00:00:00"


def test_a_format_reads_every_year():
    values = ["31.12.9999", "01.02.2018", "01.01.0001", None]
    assert texts(values, date_format="%d.%m.%Y") == [
        "9999-12-31 00:00:00",
        "2018-02-01 00:00:00",
        "0001-01-01 00:00:00",
        None,
    ]
    assert texts(["31.12.9999 +0200"], date_format="%d.%m.%Y %z") == ["9999-12-30 22:00:00"]
    with pytest.raises(DataError, match="line 3, column t: '31.13.9999' is no time of the form"):
        read(["31.12.9999", "31.13.9999"], date_format="%d.%m.%Y")


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        ([1_700_000_000], {"day_first": True}, "--day-first has no effect on numbers"),
        (["1700000000"], {"day_first": False}, "--month-first has no effect on numbers"),
        (["2018-02-01"], {"day_first": True}, "--day-first has no effect.* begin with the year"),
        (pl.Series([1], dtype=pl.Datetime("us")), {"day_first": True}, "--day-first has no effect"),
        (pl.Series([1], dtype=pl.Datetime("us")), {"date_format": "%Y"}, "--date-format has no effect"),
        (pl.Series([1], dtype=pl.Date), {"date_format": "%Y"}, "--date-format has no effect"),
    ],
)
def test_an_option_of_dates_without_an_effect_is_an_error(values, how, message):
    with pytest.raises(DataError, match=f"x.csv, column t: {message}"):
        read(values, **how)


@pytest.mark.parametrize(
    ("value", "form"), [("201809011030", "%Y%m%d%H%M%S"), ("201811", "%Y%m%d"), ("12118", "%d%m%Y")]
)
def test_digits_that_are_too_few_for_a_format_are_refused(value, form):
    with pytest.raises(DataError, match=f"line 2, column t: '{value}' is no time of the form {form}, which has "):
        read([value], date_format=form)
