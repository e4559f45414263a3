//! Conversations as text.
//!
//! Two formats are known:
//! `{"id": ..., "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}`, as in `ShareGPT`,
//! and `{"id": ..., "messages": [{"role": "user", "content": ...}, ...]}`, as in chat APIs. A file is a JSON array of
//! conversations, or has one on each line.
//!
//! Every answer (from `gpt`, `chatgpt`, `bing`, `bard`, `assistant` or `model`) becomes a request whose prompt is
//! everything before it. Messages are tokenised one by one, without the separators that a chat template would add.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::Arrivals;
use super::arrivals::SessionTimes;
use crate::trace::blocks::{BlockIds, Chain};
use crate::trace::error::{Form, Reason, TraceError};
use crate::trace::input::Input;
use crate::trace::text::{Chains, Tokenizer};
use crate::trace::{Row, ToolError};

const CHAT: Form = Form {
    name: "conversations",
    rule: "the file must be an array of objects, or one object a line, each with a list conversations of from and \
           value, or messages of role and content",
};

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Chat {
    /// Its name, if it has one.
    #[serde(default)]
    pub id: Option<String>,
    /// Its messages, in order.
    #[serde(alias = "conversations")]
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Who wrote it.
    #[serde(alias = "from")]
    pub role: String,
    /// Its text.
    #[serde(alias = "value")]
    pub content: String,
}

impl Message {
    fn is_answer(&self) -> bool {
        matches!(self.role.as_str(), "gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model")
    }
}

/// Reads the conversations of the file at `path`, plain or compressed; `-` is standard input. Holds the whole file.
///
/// # Errors
/// [`TraceError`] if the file cannot be read, is of another form, or has no conversation.
pub fn open(path: impl AsRef<Path>) -> Result<Vec<Chat>, TraceError> {
    let (name, text) = Input::open(path.as_ref())?.read_to_end()?;
    let chats = if text.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(&text)
    } else {
        serde_json::Deserializer::from_slice(&text).into_iter().collect()
    };
    let chats: Vec<Chat> = chats.map_err(|error| TraceError {
        name: name.clone(),
        line: Some(error.line() as u64),
        column: Some(error.column()),
        reason: Reason::of_json(&error, CHAT),
    })?;
    if chats.is_empty() {
        return Err(TraceError::of_file(name, Reason::Empty));
    }
    Ok(chats)
}

/// An answer in a conversation: the tokens before it, its own tokens, and the blocks before it.
type Answer = (usize, usize, Vec<Chain>);

/// Turns conversations into rows, sorted by time.
///
/// Times are drawn at random, because none are recorded. Ids are 0, 1, 2, ... in the order of first appearance,
/// conversation by conversation. All threads of rayon's pool tokenise.
///
/// # Errors
/// [`ToolError::Option`] if an option is out of range, and [`ToolError::Trace`] if the tokenizer refuses a text.
pub fn to_rows(
    chats: &[Chat],
    tokenizer: &Tokenizer,
    block_size: u32,
    arrivals: &Arrivals,
) -> Result<Vec<Row>, ToolError> {
    if block_size == 0 {
        return Err(ToolError::Option { option: "--block-size", why: "is 0; it must be at least 1".to_owned() });
    }
    let mut times = SessionTimes::new(arrivals)?;
    let mut ids = BlockIds::default();
    let tokenised: Vec<Result<Vec<Answer>, String>> =
        chats.par_iter().map(|chat| answers(chat, tokenizer, block_size)).collect();
    let mut rows = Vec::new();
    for (number, (chat, answers)) in chats.iter().zip(tokenised).enumerate() {
        let name = chat.id.clone().unwrap_or_else(|| format!("chat_{number}"));
        let answers =
            answers.map_err(|why| TraceError::of_file(name.clone(), Reason::Malformed { why, form: CHAT }))?;
        let mut now = times.begin();
        for (before, tokens, chains) in answers {
            rows.push(Row {
                timestamp: now as u64,
                input_length: u32::try_from(before).unwrap_or(u32::MAX),
                output_length: u32::try_from(tokens).unwrap_or(u32::MAX),
                hash_ids: chains.into_iter().map(|chain| ids.id(chain)).collect(),
                session_id: Some(name.clone()),
            });
            now += times.pause();
        }
    }
    rows.sort_by_key(|row| row.timestamp);
    Ok(rows)
}

fn answers(chat: &Chat, tokenizer: &Tokenizer, block_size: u32) -> Result<Vec<Answer>, String> {
    let mut said = Chains::new(block_size);
    let mut answers = Vec::new();
    let mut tokens = Vec::new();
    for message in &chat.messages {
        tokens.clear();
        tokenizer.tokens(&message.content, &mut tokens)?;
        if message.is_answer() {
            answers.push((said.len(), tokens.len(), said.chains().collect()));
        }
        said.extend(&tokens);
    }
    Ok(answers)
}
