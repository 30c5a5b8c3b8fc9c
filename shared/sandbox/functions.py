"""Which functions, types and collations a query may use. What is not here is refused.

The names are DuckDB's: https://duckdb.org/docs/stable/sql/functions/overview. An operator is a function to
its parser, so the operators stand here too.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = _names(
    """
    any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min argmax argmin
    array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif
    covar_pop covar_samp entropy favg first fsum geomean group_concat histogram kurtosis last list
    listagg mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope skewness stddev stddev_pop
    stddev_samp string_agg sum var_pop var_samp variance
    """
)

WINDOWS = _names(
    """
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
    row_number
    """
)

TEXTS = _names(
    """
    ascii bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein
    ends_with format hamming instr jaccard jaro_similarity jaro_winkler_similarity lcase left len
    length levenshtein like_escape not_like_escape ilike_escape not_ilike_escape lower lpad ltrim
    md5 nfc_normalize octet_length ord overlay position prefix printf regexp_escape regexp_extract
    regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array repeat
    replace reverse right rpad rtrim sha1 sha256 split split_part starts_with str_split
    str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos
    substr substring suffix translate trim ucase unicode upper url_decode url_encode
    """
)

NUMBERS = _names(
    """
    abs acos add asin atan atan2 bin bit_count cbrt ceil ceiling cos cot degrees divide even exp
    factorial fdiv floor fmod gcd greatest hash hex isfinite isinf isnan lcm least ln log log10 log2
    mod multiply pi pow power radians random round round_even sign sin sqrt subtract tan to_base
    trunc xor
    """
)

DATES = _names(
    """
    age century current_date date_add date_diff date_part date_sub date_trunc datediff datepart
    datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms
    epoch_ns epoch_us get_current_timestamp hour isodow isoyear julian last_day make_date make_time
    make_timestamp make_timestamptz microsecond millennium millisecond minute month monthname now
    quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries
    to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months
    to_quarters to_seconds to_timestamp to_weeks to_years today transaction_timestamp try_strptime
    week weekday weekofyear year yearweek
    """
)

JSON = _names(
    """
    array_to_json from_json from_json_strict json json_array json_array_length json_contains
    json_exists json_extract json_extract_path json_extract_path_text json_extract_string
    json_group_array json_group_object json_group_structure json_keys json_merge_patch json_object
    json_pretty json_quote json_structure json_transform json_transform_strict json_type json_valid
    json_value row_to_json to_json
    """
)

LISTS = _names(
    """
    aggregate apply array_aggr array_aggregate array_append array_apply array_cat array_concat
    array_contains array_distinct array_extract array_filter array_has array_has_all array_has_any
    array_indexof array_intersect array_length array_position array_prepend array_reduce
    array_reverse array_reverse_sort array_select array_slice array_sort array_to_string
    array_transform array_unique array_value array_where array_zip cardinality element_at filter
    flatten list_aggr list_aggregate list_any_value list_append list_apply list_avg list_cat
    list_concat list_contains list_count list_distinct list_element list_extract list_filter
    list_first list_has list_has_all list_has_any list_indexof list_intersect list_last list_max
    list_median list_min list_mode list_position list_prepend list_product list_reduce list_reverse
    list_reverse_sort list_select list_slice list_sort list_sum list_transform list_unique
    list_value list_where list_zip map map_concat map_contains map_entries map_extract
    map_extract_value map_from_entries map_keys map_values reduce row struct_concat struct_extract
    struct_insert struct_keys struct_pack struct_update struct_values unnest
    """
)

OTHERS = _names(
    """
    if nullif typeof
    """
)

OPERATORS = _names("!= !~~ !~~* % & && * ** + - ->> / // < << <= <@ = > >= >> @> ^ ^@ | || ~ ~~ ~~* ~~~")

GRAMMAR = frozenset(["->", "coalesce", "current_timestamp", "ifnull"])
"""Allowed as well: to the parser they are no functions, but grammar."""

FUNCTIONS = AGGREGATES | WINDOWS | TEXTS | NUMBERS | DATES | JSON | LISTS | OTHERS | OPERATORS
"""The names of all functions that a query may call, in lower case."""

TYPES = _names(
    """
    bigint bool boolean bpchar char date datetime dec decimal double float float4 float8 hugeint int
    int1 int128 int16 int2 int32 int4 int64 int8 integer interval json list logical long map
    nvarchar numeric real short signed smallint string struct text time timestamp timestamptz
    tinyint ubigint uhugeint uinteger usmallint utinyint uuid varchar
    """
) | {"timestamp with time zone"}
"""The names of all types that a query may cast to, in lower case."""

COLLATIONS = frozenset(["nocase", "noaccent", "nfc", "binary", "c", "posix"])
"""What may stand behind COLLATE."""
