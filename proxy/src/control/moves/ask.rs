//! Answering questions about the whole of one side of a move: planned as for a client of that side alone, run on every
//! shard that it concerns, put together.
//!
//! Connections are [`super::readers`]'; both sides' are alike, so that they write their values the same way.

use std::pin::Pin;

use futures_util::future::try_join_all;
use mysql_async::consts::{ColumnFlags, ColumnType as WireType};
use mysql_async::prelude::Queryable as _;
use shardway_migration::checkpoint::Ask;
use shardway_migration::checkpoint::answers::Answer;
use shardway_migration::connection::fields;
use shardway_migration::tables::WorkError;
use shardway_routing::bind::{self, Characters, Facts, Hint, Leg, Reads, Route, Values};
use shardway_routing::key::{Fractions, KeyValue};
use shardway_routing::lex::{self, Lexed, Quoting, ServerVersion};
use shardway_routing::merge::fold::{self, Column, Equality};
use shardway_routing::merge::{self, Merger, RowProtocol};
use shardway_routing::plan::{self, Context, Gather, Plan, whole};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{Move, MoveId, Side, TableId, Topology};

use super::readers::{Asker, Kind, Readers};
use crate::wire::parse;

/// The binary collation: values are what their bytes are.
const BINARY: u16 = 63;

/// Both sides of a move, to be asked.
pub(super) struct BothSides {
    source: Topology,
    target: Topology,
    /// The logical database of the move's tables.
    database: String,
    server: ServerVersion,
    readers: Readers,
}

/// Rows and bytes that one shard's answer to a client's question may have.
const ROWS_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;
/// The same of what operators ask, who may wait.
const ROWS_MAX_OF_OPERATORS: usize = 1_000_000;
const BYTES_MAX_OF_OPERATORS: usize = 64 << 20;

/// What is asked, and as whom.
pub(super) struct Question<'a> {
    sql: &'a str,
    database: &'a str,
    quoting: Quoting,
    asker: Asker<'a>,
}

impl<'a> Question<'a> {
    /// A question of a client. Its answer begins with a row that names the columns and their types.
    pub(super) fn of_client(
        sql: &'a str,
        database: &'a str,
        quoting: Quoting,
        settings: &'a str,
    ) -> Question<'a> {
        Question { sql, database, quoting, asker: Asker::Client(settings) }
    }
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// It has more rows or bytes than are kept.
    TooLarge,
    Failed(WorkError),
}

impl From<WorkError> for Unanswered {
    fn from(error: WorkError) -> Unanswered {
        Unanswered::Failed(error)
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Unanswered {
        Unanswered::Failed(refusal.into())
    }
}

impl From<mysql_async::Error> for Unanswered {
    fn from(error: mysql_async::Error) -> Unanswered {
        Unanswered::Failed(error.into())
    }
}

/// Nothing is left to decide: the rules show one side.
struct Decided;

impl bind::Sides for Decided {
    fn reads(&self) -> Reads {
        Reads::Authority
    }

    fn is_dirty(&self, _: TableId, _: &KeyValue) -> bool {
        false
    }

    fn any_dirty(&self, _: TableId) -> bool {
        false
    }

    fn is_behind(&self, _: &Move) -> bool {
        false
    }

    fn numbered(&self) -> usize {
        0
    }

    fn account(&self) -> &str {
        ""
    }
}

impl BothSides {
    pub(super) fn of(topology: &Topology, by: MoveId, server: ServerVersion) -> BothSides {
        let of = topology.move_of(by);
        let seen =
            |side| whole::one_side(topology, |other| if other.name == of.name { side } else { other.writes });
        let database = of.tables.first().map(|table| topology.table_of(*table).database);
        let database = database.map(|id| topology.database_of(id).name.clone()).unwrap_or_default();
        BothSides {
            source: seen(Side::Source),
            target: seen(Side::Target),
            database,
            server,
            readers: Readers::default(),
        }
    }

    /// Closes the connections.
    pub(super) async fn close(self) {
        self.readers.close().await;
    }

    /// Answers a question as one side sees it.
    ///
    /// # Errors
    /// What the side refuses, or its servers do.
    pub(super) async fn answer(&self, side: Side, question: &Question<'_>) -> Result<Answer, Unanswered> {
        let Question { sql, database, quoting, asker } = *question;
        let topology = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let mut lexed = Lexed::default();
        lex::lex(sql.as_bytes(), quoting, &mut lexed);
        let context = Context {
            topology,
            database: Some(database),
            quoting,
            server: self.server,
            protocol: RowProtocol::Text,
        };
        let whole::Whole { plan, folding } = match asker {
            Asker::Operator => whole::plan(sql.as_bytes(), &lexed, context)?,
            Asker::Client(_) => match plan::plan(sql.as_bytes(), &lexed, context) {
                Plan::Data(plan) => whole::Whole { plan: *plan, folding: None },
                Plan::Refused(refusal) => return Err(refusal.into()),
                Plan::Session(_) => return Err(refusal::UNSUPPORTED.because("").into()),
            },
        };
        if let Some(table) =
            plan.tables.iter().map(|id| topology.table_of(*id)).find(|table| table.schema.is_none())
        {
            return Err(refusal::SCHEMA_UNKNOWN.because(table.name.clone()).into());
        }
        let values = Values {
            sql: sql.as_bytes(),
            regions: &lexed.regions,
            parameters: &[],
            quoting,
            characters: Characters::Utf8,
            fractions: Fractions::Unknown,
        };
        let route = bind::route(&plan, topology, values, Hint::None, &Decided)?;
        let facts = Facts { database: Some(database), ..Facts::default() };
        let mut legs = Vec::new();
        for leg in &route.legs {
            let mut text = Vec::new();
            bind::render(&plan, topology, values, &route, leg, &facts, &mut text)?;
            legs.push(self.leg(topology, leg, text, database, asker));
        }
        let answers = try_join_all(legs).await?;
        let gather = bind::side_plan(&plan, route.side).map(|side| &side.gather);
        let mut described = match asker {
            Asker::Operator => Vec::new(),
            Asker::Client(_) => {
                let hidden = match gather {
                    Some(Gather::Merge { hidden, .. }) if answers.len() > 1 => usize::from(*hidden),
                    _ => 0,
                };
                let mut columns = columns(&answers, described)?;
                columns.truncate(columns.len() - hidden.min(columns.len()));
                vec![columns.into_iter().map(Some).collect()]
            }
        };
        described.extend(gathered(folding, gather, answers, &route)?);
        Ok(described)
    }

    async fn leg(
        &self,
        topology: &Topology,
        leg: &Leg,
        sql: Vec<u8>,
        database: &str,
        asker: Asker<'_>,
    ) -> Result<Part, Unanswered> {
        let (rows_max, bytes_max) = match asker {
            Asker::Operator => (ROWS_MAX_OF_OPERATORS, BYTES_MAX_OF_OPERATORS),
            Asker::Client(_) => (ROWS_MAX, BYTES_MAX),
        };
        let kind = Kind { backend: leg.backend, database, asker };
        let mut connection = self.readers.take(topology, kind).await?;
        let mut result = connection.query_iter(sql).await?;
        let columns = result.columns_ref().to_vec();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = result.next().await? {
            let row = fields(row);
            bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
            if rows.len() == rows_max || bytes > bytes_max {
                return Err(Unanswered::TooLarge);
            }
            rows.push(row);
        }
        drop(result);
        self.readers.keep(kind, connection).await;
        Ok(Part { columns, rows })
    }
}

impl Ask for BothSides {
    fn ask<'a>(
        &'a self,
        side: Side,
        sql: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, WorkError>> + Send + 'a>> {
        Box::pin(async move {
            let question = Question {
                sql,
                database: &self.database,
                quoting: Quoting::default(),
                asker: Asker::Operator,
            };
            self.answer(side, &question).await.map_err(|why| match why {
                Unanswered::TooLarge => WorkError::Stopped(format!(
                    "the answer of a shard is larger than {ROWS_MAX_OF_OPERATORS} rows or {BYTES_MAX_OF_OPERATORS} bytes: \
                     count or add up instead"
                )),
                Unanswered::Failed(error) => error,
            })
        })
    }
}

/// The shards' answers as one.
fn gathered(
    folding: Option<whole::Folding>,
    gather: Option<&Gather>,
    answers: Vec<Part>,
    route: &Route,
) -> Result<Answer, WorkError> {
    match (folding, gather) {
        _ if answers.len() == 1 => Ok(rows(answers)),
        (Some(folding), _) => {
            let columns = columns(&answers, folded)?;
            Ok(fold::fold(&folding, &columns, rows(answers))?)
        }
        (None, Some(Gather::Merge { order, hidden, .. })) => {
            let types = columns(&answers, merge_type)?;
            let merger = Merger::new(order, &types, RowProtocol::Text, *hidden)?;
            let rows = sorted(rows(answers), &merger, usize::from(*hidden))?;
            Ok(window(rows, route.skip, route.take))
        }
        (None, _) => Ok(window(rows(answers), route.skip, route.take)),
    }
}

/// One shard's answer.
struct Part {
    columns: Vec<mysql_async::Column>,
    rows: Answer,
}

fn rows(parts: Vec<Part>) -> Answer {
    parts.into_iter().flat_map(|part| part.rows).collect()
}

/// What is to be known of the columns, which all shards must have alike.
fn columns<T: PartialEq>(parts: &[Part], of: impl Fn(&mysql_async::Column) -> T) -> Result<Vec<T>, Refusal> {
    let known = |part: &Part| part.columns.iter().map(&of).collect::<Vec<T>>();
    let first = parts.first().map(known).unwrap_or_default();
    if parts.iter().any(|part| known(part) != first) {
        return Err(refusal::SHARDS_DISAGREE.because("the columns' types"));
    }
    Ok(first)
}

/// A column as clients see it: its name, its type, and what makes them read the same bytes another way.
fn described(column: &mysql_async::Column) -> Vec<u8> {
    let mut text = column.name_ref().to_vec();
    let of = format!("{:?}", column.column_type());
    text.extend_from_slice(format!(" {}", of.trim_start_matches("MYSQL_TYPE_")).as_bytes());
    let flags = column.flags();
    let marks = [
        (flags.contains(ColumnFlags::UNSIGNED_FLAG), " unsigned"),
        (flags.contains(ColumnFlags::ENUM_FLAG), " enum"),
        (flags.contains(ColumnFlags::SET_FLAG), " set"),
        (column.column_type().is_character_type() && column.character_set() == BINARY, " binary"),
    ];
    for (_, mark) in marks.into_iter().filter(|(is_so, _)| *is_so) {
        text.extend_from_slice(mark.as_bytes());
    }
    text
}

fn merge_type(column: &mysql_async::Column) -> merge::ColumnType {
    parse::merge_type(column.column_type(), column.flags().bits())
}

fn folded(column: &mysql_async::Column) -> Column {
    let of = merge_type(column);
    let is_listed = column.flags().intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG);
    let is_exact = column.character_set() == BINARY && column.column_type() != WireType::MYSQL_TYPE_JSON;
    let is_bytes = of != merge::ColumnType::Bytes || is_listed || is_exact;
    Column {
        of,
        equality: if is_bytes { Equality::Bytes } else { Equality::Collation },
        decimals: column.decimals(),
    }
}

/// Sorts the rows of all shards, and drops the columns that were asked for the order alone.
fn sorted(rows: Answer, merger: &Merger, hidden: usize) -> Result<Answer, WorkError> {
    let keyed = rows.into_iter().map(|row| {
        let keys = merger.sort_values(&encoded(&row));
        keys.map(|keys| (keys, row)).map_err(|error| WorkError::Stopped(error.to_string()))
    });
    let mut keyed = keyed.collect::<Result<Vec<_>, _>>()?;
    keyed.sort_by(|(one, _), (other, _)| merger.compare(one, other));
    let visible = |(_, mut row): (_, Vec<Option<Vec<u8>>>)| {
        row.truncate(row.len() - hidden.min(row.len()));
        row
    };
    Ok(keyed.into_iter().map(visible).collect())
}

/// A row as the text protocol sends it.
fn encoded(row: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in row {
        match value {
            None => out.push(0xFB),
            Some(value) => {
                out.push(0xFE);
                out.extend_from_slice(&(value.len() as u64).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
    }
    out
}

fn window(rows: Answer, skip: u64, take: Option<u64>) -> Answer {
    let size = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    rows.into_iter().skip(size(skip)).take(take.map_or(usize::MAX, size)).collect()
}
