//! Rows that are texts, for models whose graphs take tokens.

use super::refusal::Place;
use super::{Validation, check_rows};
use crate::api::datum::Datum;
use crate::api::error::{ApiError, ErrorCode};
use crate::model::preprocessing::text::{RowsProblem, TextProblem, TextRows, Texts, Tokenized};
use crate::model::schema::Schema;

/// Bytes of a body whose texts take longer to become tokens, at some 10 MB/s, than ten changes of threads.
const LONG: usize = 2 << 10;

/// Whether reading the texts of a body with so many bytes would hold up others.
#[must_use]
pub fn is_long(bytes: usize, schema: &Schema) -> bool {
    schema.text.is_some() && bytes > LONG
}

/// The tokens of a request whose rows are texts; none where they are not, or where the model takes none. A model that takes
/// texts takes rows of its graph's inputs as well: all rows of a request are what the first of them is.
pub fn tokens_of(inputs: &[Datum<'_>], model: &str, schema: &Schema) -> Result<Option<Tokenized>, ApiError> {
    let Some(text) = &schema.text else {
        return Ok(None);
    };
    check_rows(inputs.len())?;
    let validation = Validation { model, schema };
    if inputs.first().is_some_and(|first| !is_for_text(first)) {
        return Ok(None);
    }
    let rows = inputs.iter().enumerate();
    let rows = rows.map(|(row, datum)| validation.texts(datum, Place::Row(row)));
    let rows: Vec<Texts<'_>> = rows.collect::<Result<_, _>>()?;
    tokenize(&rows, model, text).map(Some)
}

/// The tokens of these rows.
pub(in crate::worker) fn tokenize(
    rows: &[Texts<'_>],
    model: &str,
    text: &TextRows,
) -> Result<Tokenized, ApiError> {
    text.tokenize(rows).map_err(|problem| refused(&problem, model))
}

/// Objects and lists of anything but texts are rows of the graph's own inputs.
fn is_for_text(datum: &Datum<'_>) -> bool {
    match datum {
        Datum::List(items) => items.first().is_some_and(|item| matches!(item, Datum::Text(_))),
        Datum::Object(_) => false,
        _ => true,
    }
}

impl Validation<'_> {
    fn texts<'d>(&self, datum: &'d Datum<'_>, place: Place<'_>) -> Result<Texts<'d>, ApiError> {
        let found = match datum {
            Datum::Text(text) => return Ok(Texts::One(text)),
            Datum::List(items) => match items.as_slice() {
                [Datum::Text(text)] => return Ok(Texts::One(text)),
                [Datum::Text(first), Datum::Text(second)] => return Ok(Texts::Pair(first, second)),
                _ => datum.describe(),
            },
            other => other.describe(),
        };
        let model = self.model;
        Err(ApiError::invalid_input(format!(
            "{place} is {found}; model {model} takes a text there, or a list of two that are read together"
        )))
    }
}

fn refused(problem: &RowsProblem, model: &str) -> ApiError {
    ApiError::invalid_input(match problem {
        RowsProblem::Row {
            row,
            problem: TextProblem::Failed(reason),
        } => {
            tracing::error!(model, row, reason, "a tokenizer failed");
            let message = format!("the tokenizer of model {model} fails at inputs[{row}]");
            return ApiError::new(ErrorCode::Internal, message);
        }
        RowsProblem::Row { row, problem } => {
            format!("inputs[{row}] has {problem}; this is what model {model} takes of texts")
        }
        RowsProblem::Ragged { row, found, before } => format!(
            "inputs[{row}] has {found} tokens, and the rows before it {before}: \
             model {model} takes texts of one length in one request"
        ),
        RowsProblem::TooMany { tokens, max_tokens } => format!(
            "the rows of inputs have {tokens} tokens, filled up to the longest; one request takes at most {max_tokens}: \
             send long texts apart from short ones"
        ),
    })
}
