"""Templates: what they may do, what they make, and what stops them. Each runs in its child."""

from collections.abc import Mapping
from typing import Any

import pytest

from shared.sandbox import process
from shared.sandbox.errors import OverLimit, Refused
from shared.sandbox.methods import METHODS
from shared.sandbox.velocity import Problem, TemplateLimits, Templates


def rendered(template: str, *rows: Mapping[str, Any], **limits: Any) -> list[str | Problem]:
    with Templates(template, limits=TemplateLimits(**limits)) as templates:
        return templates.render(rows)


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("", {}, ""),
        ("plain $5.00 #ff0000 100%", {}, "plain $5.00 #ff0000 100%"),
        ("$a ${a} $!a $!{a} \\$a", {"a": "x"}, "x x x x $a"),
        ("$a ${a} [$!a] [$!{a}]", {}, "$a ${a} [] []"),
        ("[$!a] $a", {"a": None}, "[] $a"),
        ("$a.b.c $a['b'].c $!a.x.y.z", {"a": {"b": {"c": 7}}}, "7 7 "),
        ('$row.get("First name") $row.a', {"First name": "Ada", "a": 1}, "Ada 1"),
        ("$row.row", {"row": "own"}, "own"),
        ("#if($a)yes#{else}no#end", {"a": 1}, "yes"),
        ("#if($a)yes#{else}no#end", {"a": False}, "no"),
        ("#if($a)yes#{else}no#end", {}, "no"),
        ("#if($a == 1)one#elseif($a == 2)two#{else}more#end", {"a": 2}, "two"),
        ("#if($a == 1)one#elseif($a == 2)two#else more#end", {"a": "1"}, "one"),
        ('#if($a == "x" && $b > 1 || !$c)y#end', {"a": "x", "b": 2, "c": True}, "y"),
        ("#if($a > 1)y#{else}n#end", {}, "n"),
        ("#if($a.size() > 0)y#{else}n#end", {"a": []}, "n"),
        ("#foreach($x in $a)$x#if($foreach.hasNext),#end#end", {"a": [1, "b", None]}, "1,b,$x"),
        ("#foreach($i in [1..4])$i#end #foreach($i in [2..0])$i#end", {}, "1234 210"),
        ("#foreach($x in $a)$velocityCount#end", {}, ""),
        ("#foreach($v in $m)$v#end #foreach($k in $m.keySet())$k#end", {"m": {"a": 1, "b": 2}}, "12 ab"),
        ("#foreach($e in $m.entrySet())$e.key=${e.value};#end", {"m": {"a": 1}}, "a=1;"),
        ("#foreach($e in $m.entrySet())$e.getKey()-$e.getValue()#end", {"m": {"a": 1}}, "a-1"),
        ("#set($n = 0)#foreach($x in [1..3])#set($n = $n + $x)#end$n", {}, "6"),
        ('#set($s = "$a-b")$s #set($m = {"k": [1, 2]})$m.k', {"a": "x"}, "x-b [1, 2]"),
        ("## a comment\nx#* another\n one *#y", {}, "xy"),
        ("#macro(cell $x)[$!x]#end#cell($a)#cell('b')", {"a": 1}, "[1][b]"),
        ("#define($d)<$a>#end$d", {"a": 1}, "<1>"),
        ("a#stop b", {}, "a"),
        (
            "$a $b $c $d",
            {"a": True, "b": 1.5, "c": [1, None, "x"], "d": {"k": False}},
            "true 1.5 [1, null, x] {k=false}",
        ),
        ("$a", {"a": 2**53 + 1}, "9007199254740993"),
        ("#set($b = $a + 1)$b", {"a": 10**30}, "1" + "0" * 29 + "1"),
        (
            "#set($a = 7 / 2)$a #set($a = -7 / 2)$a #set($a = -7 % 2)$a #set($a = 1 / 0)[$!a]",
            {},
            "3 -3 -1 []",
        ),
        ('#set($a = "n" + 1)$a', {}, "n1"),
        (
            '{"id": "$a", "list": [#foreach($x in $l)"$x"#if($foreach.hasNext),#end#end]}',
            {"a": 1, "l": [1, 2]},
            '{"id": "1", "list": ["1","2"]}',
        ),
        ("$a", {"a": "\0é\u2028\U0001f600"}, "\0é\u2028\U0001f600"),
        ("$a", {"a": "$b #if(1) ${c}"}, "$b #if(1) ${c}"),
        ("\r\n$a\r\n", {"a": 1}, "\r\n1\r\n"),
    ],
    ids=lambda value: str(value)[:40].replace("\0", "NUL"),
)
def test_what_a_template_makes(template: str, row: Mapping[str, Any], text: str) -> None:
    assert rendered(template, row) == [text]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("$s.charAt(1)", "e"),
        ("$s.concat('!')", "hello!"),
        ("$s.contains('ell') $l.contains(2) $l.contains(9)", "true true false"),
        ("$m.containsKey('a') $m.containsValue(1)", "true true"),
        ("$s.endsWith('lo') $s.startsWith('he')", "true true"),
        ("$m.entrySet()", "[{key=a, value=1}]"),
        ("$s.equals('hello') $s.equals(1) $s.equalsIgnoreCase('HELLO')", "true false true"),
        ("$m.get('a') $l.get(1) $!l.get(9) $m.getOrDefault('z', 'd')", "1 2  d"),
        ("$s.indexOf('l') $s.lastIndexOf('l') $s.indexOf('z') $l.indexOf(2)", "2 3 -1 1"),
        ("$s.isEmpty() $l.isEmpty()", "false false"),
        ("$m.keySet() $m.values()", "[a] [1]"),
        ("$s.length() $l.size() $m.size()", "5 2 1"),
        ("$s.replace('l', 'L')", "heLLo"),
        (
            "$c.split(',') $c.split(',', 2) $p.split('\\\\|') $c.split(',').size()",
            "[a, , b] [a, ,b,,] [x, y] 3",
        ),
        ("$s.substring(1) $s.substring(1, 3)", "ello el"),
        ("$s.toUpperCase().toLowerCase() $n.toString()", "hello 5"),
        ("[$t.trim()]", "[x]"),
    ],
)
def test_methods(call: str, text: str) -> None:
    row = {"s": "hello", "l": [1, 2], "m": {"a": 1}, "c": "a,,b,,", "p": "x|y", "t": " x ", "n": 5}
    assert rendered(call, row) == [text]


def test_every_method_is_tested() -> None:
    calls = str(test_methods.pytestmark) + "getKey( getValue("  # type: ignore[attr-defined]
    assert [name for name in METHODS if f"{name}(" not in calls] == []


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("#if($a)", "cannot be parsed at line 1, column 8: expected #else, #elseif or #end"),
        ("x\n\n#foreach($x in $y", "cannot be parsed at line 3"),
        ("#end", "cannot be parsed at line 1"),
        ("#set($x 1)", "cannot be parsed at line 1"),
        ("#set($x = 1 not 2)", "cannot be parsed"),
        ("#set($x = " + "9" * 5_000 + ")", "cannot be parsed"),
        ("a\n$b.__class__", "Line 2 of the template: the name __class__ holds two underscores"),
        ("$a__b", "the name a__b holds two underscores"),
        ("#set($__x = 1)", "the name __x holds two underscores"),
        ("#set($x.__y = 1)", "the name __y holds two underscores"),
        ("#foreach($__x in $y)#end", "the name __x holds two underscores"),
        ("#macro(__m)#end", "the name __m holds two underscores"),
        ("#macro(m $a__b)#end", "the name a__b holds two underscores"),
        ('#set($x = "$y.__init__")', "the name __init__ holds two underscores"),
        ("#parse('/etc/passwd')", "#parse is not allowed"),
        ("#include('/etc/passwd')", "#include is not allowed"),
        ("x\n#evaluate($x)", "Line 2 of the template: #evaluate is not allowed"),
        ('#set($x = "#parse($y)")', "#parse is not allowed"),
        ('$a.format("x")', "the method format is not allowed"),
        ("$a.mro()", "the method mro is not allowed"),
        ("$a.items()", "the method items is not allowed"),
        ("$a.getClass()", "the method getClass is not allowed"),
        ("$a.replaceAll('a', 'b')", "the method replaceAll is not allowed"),
        ("$a.b().c", "the method b is not allowed"),
        ("$l.append(1)", "the method append is not allowed"),
        ("$f('x')", "the method f is not allowed"),
        ("#set($x = " + "(" * 20_000 + "1" + ")" * 20_000 + ")", "nested too deeply"),
        ("#if(1)" * 8_000 + "#end" * 3_000, "nested too deeply"),
        ("#set($x = " + "[" * 20_000 + "]" * 20_000 + ")", "nested too deeply"),
        ("x" * 65_537, "The template has 65,537 bytes; at most 65,536 are allowed"),
        ("\ud800", "surrogate"),
    ],
    ids=lambda value: value[:40].replace("\ud800", "?"),
)
def test_a_template_that_is_refused(template: str, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        rendered(template, {})
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "name", ["upper", "format", "mro", "real", "keys", "append", "gi_frame", "parent", "top"]
)
def test_a_value_has_no_attributes_of_python(name: str) -> None:
    values = ["x", 1, 1.5, True, [1], {"a": 1}, None]
    made = rendered(f"[$!a.{name}] [$!row.{name}] [$!{name}]", *({"a": value} for value in values))
    assert made == ["[] [] []"] * len(values)


def test_what_is_set_in_one_row_is_gone_in_the_next() -> None:
    template = "$!seen#set($seen = 1)#set($row.x = 2)$row.x#macro(m)m#end#m()"
    assert rendered(template, {}, {}, {}) == ["2m"] * 3


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "#foreach($i in [1..2000000000])$i#end",
            "it takes more than 100,000 steps; use fewer or shorter loops",
        ),
        ("#foreach($i in [1..1000])#foreach($j in [1..1000])#end#end", "100,000 steps"),
        ("#macro(m)#m()#end#m()", "call each other more than 20 levels deep"),
        ("#macro(a)#b()#end#macro(b)#a()#end#a()", "call each other more than 20 levels deep"),
        ("#macro(m $n)#if($n > 0)" + "#m(($n - 1))" * 9 + "#end#end#m(15)", "100,000 steps"),
        ("#define($d)$d#end$d", "call each other more than 20 levels deep"),
        (
            '#set($s = "xxxx")#foreach($i in [1..40])#set($s = "$s$s")#end',
            "a text of more than 1,048,576 bytes",
        ),
        (
            '#set($s = "xxxx")#foreach($i in [1..40])#set($s = $s + $s)#end',
            "a text of more than 1,048,576 bytes",
        ),
        (
            '#set($s = "xxxx")#foreach($i in [1..40])#set($s = $s.concat($s))#end',
            "a text of more than 1,048,576 bytes",
        ),
        (
            "#set($s = 'xx')#foreach($i in [1..9])#set($s = $s.replace('x', $big))#end",
            "the method replace does not fit",
        ),
        ("#foreach($i in [1..2000])$big#end", "a text of more than 1,048,576 bytes"),
        (
            '#foreach($i in [1..9000])#set($s = "$big")#end',
            "its texts have more than 16,777,216 bytes together",
        ),
        ("#set($n = 9)#foreach($i in [1..40])#set($n = $n * $n)#end", "an integer of more than 4,096 bits"),
        ("#set($l = [1])#foreach($i in [1..40])#set($l = [$l, $l])#end$l", "100,000 steps"),
        ("#set($row.self = $row)$row", "a value nested more than 50 levels deep"),
        ("$deep", "a value nested more than 50 levels deep"),
        ("x\n#foreach($i in [1..$huge])#end", "Line 2 of the template: a range needs two integers"),
        ("#foreach($c in $big)$c#end", "#foreach needs a list or a map"),
        ("#if($big > 1)#end", "> needs two numbers or two texts"),
        ("#set($x = [1] * 1000)", "* needs two numbers"),
        ("#set($x = 'x' * 1000000000)", "* needs two numbers"),
        ("#set($x.y = 1)", "#set cannot set $x.y: $x is not a map"),
        ("#set($big.y = 1)", "#set cannot set $big.y: $big is not a map"),
        ("#nosuch(1)", "there is no macro nosuch"),
        ("#macro(m $a)#end#m()", "m takes 1 arguments, and is given 0"),
        ("$big.substring(5000)", "the method substring does not fit"),
        ("$big.substring('x')", "the method substring does not fit"),
        ("$big.get(0)", "the method get does not fit"),
        ("$row.get([1])", "the method get does not fit"),
        ("#set($x = {[1]: 2})", "cannot be evaluated with this row's values"),
    ],
    ids=lambda value: value[:50],
)
def test_a_row_over_a_limit_is_a_problem_of_that_row_alone(template: str, sentence: str) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    bad = {"big": "x" * 2_000, "deep": deep, "huge": 10**12, "run": True}
    if not template.startswith(("#macro", "x")):
        template = f"#if($run){template}#end$!ok"
    made = rendered(template, bad, {"ok": "fine"})
    assert isinstance(made[0], Problem)
    assert sentence in made[0].sentence
    assert made[0].sentence.endswith(".")
    if template.startswith("#if($run)"):
        assert made[1] == "fine"


def test_a_row_of_too_many_bytes_is_a_problem() -> None:
    made = rendered("$a", {"a": "é" * 60}, {"a": "é" * 40}, output=100)
    assert made == [Problem("The row makes more than 100 bytes. Make its text shorter."), "é" * 40]


def test_a_template_that_takes_long_to_parse_is_over_its_limit() -> None:
    template = "#set($x = " + "[$a.get(" * 14 + "1" + ")]" * 14 + ")"
    with pytest.raises(
        OverLimit, match=r"^The template took longer than 0\.2 seconds and was stopped\. Use fewer"
    ):
        rendered(template, {}, seconds=0.2)


def test_a_template_that_hangs_is_killed() -> None:
    loops = "#foreach($i in [1..90000])$!x.y.z#end"
    with (
        Templates(loops, limits=TemplateLimits(seconds=0.4, steps=10**9)) as templates,
        pytest.raises(OverLimit, match=r"The template took longer than 0\.4 seconds"),
    ):
        templates.render([{}] * 1_000)


def test_the_time_is_counted_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(process, "stopwatch", lambda: now[0])
    monkeypatch.setattr(process, "elapsed_since", lambda start: now[0] - start)
    with Templates("$n", limits=TemplateLimits(seconds=60)) as templates:
        for number in range(3):
            now[0] += 40
            assert templates.render([{"n": number}]) == [str(number)]


def test_many_batches_and_many_rows() -> None:
    with Templates("$n,$row.s", row="row") as templates:
        for start in range(3):
            batch = [{"n": start * 1_000 + n, "s": "x" * 100} for n in range(1_000)]
            assert templates.render(batch) == [f"{row['n']},{row['s']}" for row in batch]
        assert templates.render([]) == []


def test_the_row_has_the_name_that_is_given() -> None:
    with Templates("$item.a $!row.a", row="item") as templates:
        assert templates.render([{"a": 1}]) == ["1 "]
