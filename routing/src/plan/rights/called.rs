//! Functions that a statement calls: those of the server are free for everybody, with few exceptions; any other name
//! may be that of a stored function, which may do anything.

use super::super::session::Words;
use super::{Need, Needs};
use crate::lex::Flavour;
use crate::lex::words::TokenKind;

/// Adds what the functions of a statement need.
pub(super) fn of(words: Words<'_>, flavour: Flavour, needs: &mut Needs) {
    for at in 0..words.len() {
        if let Some(need) = called(words, at, flavour) {
            needs.add(need);
        }
        // What sequences give is not given again.
        let next = words.is(at, "NEXT") && words.is(at + 1, "VALUE") && words.is(at + 2, "FOR");
        let behind_dot =
            flavour == Flavour::MariaDb && words.symbol(at) == Some(b'.') && words.is(at + 1, "NEXTVAL");
        if next || behind_dot {
            needs.add(Need::Writes);
        }
    }
}

fn called(words: Words<'_>, at: usize, flavour: Flavour) -> Option<Need> {
    let name = words.name(at).filter(|_| words.symbol(at + 1) == Some(b'('))?.to_ascii_lowercase();
    let before = at.checked_sub(1);
    match before.map(|before| words.tokens[before].kind) {
        Some(TokenKind::Symbol(b'.')) => return Some(Need::Calls),
        // Behind an operand stands an alias, or a keyword.
        Some(TokenKind::Symbol(b')') | TokenKind::Region(_)) => return None,
        Some(_) if words.is(at - 1, "AS") => return None,
        _ => {}
    }
    let is_word = words.tokens[at].kind == TokenKind::Word;
    let is = |list: &str| list.split_ascii_whitespace().any(|of| of == name);
    match name.as_str() {
        "load_file" => return Some(Need::Files),
        "nextval" | "setval" if is_word && flavour == Flavour::MariaDb => return Some(Need::Writes),
        "lastval" if is_word && flavour == Flavour::MariaDb => return None,
        _ => {}
    }
    if ADMINISTERING.iter().any(|prefix| name.starts_with(prefix)) {
        return Some(Need::Server);
    }
    let (own, own_words) = match flavour {
        Flavour::MariaDb => (MARIADB, MARIADB_WORDS),
        Flavour::MySql => (MYSQL, MYSQL_WORDS),
    };
    let free = is(BOTH) || is(own) || (is_word && (is(WORDS) || is(own_words)));
    (!free && !is_common_table(words, at + 1)).then_some(Need::Calls)
}

/// `name (columns) AS (`: a common table expression; `open` is its first parenthesis.
fn is_common_table(words: Words<'_>, open: usize) -> bool {
    let mut depth = 0_u32;
    for at in open..words.len() {
        match words.symbol(at) {
            Some(b'(') => depth += 1,
            Some(b')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return words.is(at + 1, "AS") && words.symbol(at + 2) == Some(b'(');
        }
    }
    false
}

/// Loadable functions that change how a server works.
const ADMINISTERING: [&str; 9] = [
    "group_replication_",
    "asynchronous_connection_failover_",
    "keyring_",
    "audit_log_",
    "audit_api_",
    "version_tokens_",
    "mysql_firewall_",
    "set_firewall_",
    "roles_graphml",
];

/// Functions of both servers, with a quoted name too.
const BOTH: &str = "abs acos addtime aes_decrypt aes_encrypt asin atan atan2 benchmark bin bit_count bit_length ceil ceiling \
    char_length character_length coercibility compress concat concat_ws connection_id conv convert_tz cos cot \
    crc32 date_format datediff dayname dayofmonth dayofweek dayofyear degrees elt exp export_set extractvalue \
    field find_in_set floor found_rows from_base64 from_days from_unixtime geometrycollection get_lock greatest \
    hex ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa instr is_free_lock is_ipv4 is_ipv4_compat \
    is_ipv4_mapped is_ipv6 is_used_lock isnull json_array json_array_append json_array_insert json_contains \
    json_contains_path json_depth json_extract json_insert json_keys json_length json_merge json_merge_patch \
    json_merge_preserve json_object json_overlaps json_pretty json_quote json_remove json_replace json_search \
    json_set json_type json_unquote json_valid last_day last_insert_id lcase least length linestring ln locate \
    log log10 log2 lower lpad ltrim make_set makedate maketime master_pos_wait mbrcontains mbrdisjoint mbrequals \
    mbrintersects mbroverlaps mbrtouches mbrwithin monthname multilinestring multipoint multipolygon name_const \
    nullif oct octet_length ord period_add period_diff pi point polygon pow power quote radians rand \
    random_bytes regexp_instr regexp_replace regexp_substr release_all_locks release_lock reverse round rpad \
    rtrim sec_to_time sha2 sign sin sleep soundex space sqrt st_area st_asbinary st_asgeojson st_astext st_aswkb \
    st_aswkt st_buffer st_centroid st_contains st_convexhull st_crosses st_difference st_dimension st_disjoint \
    st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring st_geomcollfromtext \
    st_geomcollfromwkb st_geometrycollectionfromtext st_geometrycollectionfromwkb st_geometryfromtext \
    st_geometryfromwkb st_geometryn st_geometrytype st_geomfromgeojson st_geomfromtext st_geomfromwkb \
    st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_issimple st_length st_linefromtext \
    st_linefromwkb st_linestringfromtext st_linestringfromwkb st_mlinefromtext st_mlinefromwkb st_mpointfromtext \
    st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_multilinestringfromtext st_multilinestringfromwkb \
    st_multipointfromtext st_multipointfromwkb st_multipolygonfromtext st_multipolygonfromwkb st_numgeometries \
    st_numinteriorrings st_numpoints st_overlaps st_pointfromtext st_pointfromwkb st_pointn st_polyfromtext \
    st_polyfromwkb st_polygonfromtext st_polygonfromwkb st_srid st_startpoint st_symdifference st_touches \
    st_union st_within st_x st_y str_to_date strcmp substring_index subtime tan time_format time_to_sec timediff \
    to_base64 to_days to_seconds ucase uncompress uncompressed_length unhex unix_timestamp updatexml upper uuid \
    uuid_short version weekday weekofyear yearweek";

const MARIADB: &str = "add_months binlog_gtid_pos chr coalesce collation column_check column_exists column_json column_list \
    concat_operator_oracle contains crc32c database decode decode_histogram decode_oracle des_decrypt \
    des_encrypt encode encrypt format glength json_compact json_detailed json_equals json_exists json_loose \
    json_normalize json_query json_value lengthb lpad_oracle ltrim_oracle master_gtid_wait mbrequal md5 \
    microsecond mod natural_sort_key nvl nvl2 old_password overlaps password quarter replace_oracle row_count \
    rpad_oracle rtrim_oracle schema schemas sformat sha sha1 srid st_boundary st_isring st_pointonsurface \
    st_relate substr_oracle sys_guid to_char week within wsrep_last_seen_gtid wsrep_last_written_gtid \
    wsrep_sync_wait_upto_gtid json_array_intersect json_key_value json_object_filter_keys \
    json_object_to_array kdf format_bytes format_pico_time uuid_v4 uuid_v7 vec_distance vec_distance_cosine \
    vec_distance_euclidean vec_fromtext vec_totext";

const MYSQL: &str = "bin_to_uuid current_role current_role_in current_user_in format_bytes format_pico_time from_vector \
    gtid_subset gtid_subtract icu_version is_uuid json_schema_valid json_schema_validation_report \
    json_storage_free json_storage_size mbrcoveredby mbrcovers ps_current_thread_id ps_thread_id regexp_like \
    source_pos_wait st_buffer_strategy st_frechetdistance st_geohash st_geomcollfromtxt st_hausdorffdistance \
    st_isvalid st_latfromgeohash st_latitude st_lineinterpolatepoint st_lineinterpolatepoints st_longfromgeohash \
    st_longitude st_makeenvelope st_numinteriorring st_pointatdistance st_pointfromgeohash st_simplify st_swapxy \
    st_transform st_validate statement_digest statement_digest_text sha sha1 md5 string_to_vector uuid_to_bin \
    validate_password_strength vector_dim vector_to_string version_with_update wait_for_executed_gtid_set";

/// Functions and other words before a parenthesis that are keywords: no stored function is called so without quotes.
const WORDS: &str = "adddate all and any as ascii avg between bigint binary bit bit_and bit_or bit_xor blob by case cast char \
    character charset collate convert count cume_dist curdate current_date current_time current_timestamp \
    current_user curtime date date_add date_sub datetime day dec decimal dense_rank distinct distinctrow div \
    double else enum except exists extract first_value float for force from get_format group_concat having hour \
    if ignore in index insert int integer intersect interval is join json json_arrayagg json_objectagg key lag \
    last_value lead left like limit localtime localtimestamp match max mediumint min minute national nchar not \
    now nth_value ntile numeric nvarchar offset on or over partition percent_rank position rank real regexp \
    repeat replace right rlike row row_number second select session_user set smallint some sounds std stddev \
    stddev_pop stddev_samp straight_join subdate substr substring sum sysdate system_user table text then time \
    timestamp timestampadd timestampdiff tinyint to trim truncate union unique unsigned use user using utc_date \
    utc_time utc_timestamp value values var_pop var_samp varbinary varchar variance weight_string when where \
    window with xor year json_table";

const MARIADB_WORDS: &str = "column_add column_create column_delete column_get lastval median percentile_cont percentile_disc rownum \
    varchar2";

const MYSQL_WORDS: &str = "coalesce collation contains database except format function geomcollection grouping json_table json_value \
    lateral member microsecond mod of password quarter rollup row_count schema srid st_collect week";
