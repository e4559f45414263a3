//! Fields of log lines as text, in which no value can end the line or command a terminal.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes fields as the library does, but escapes every control character, whatever the caller did.
pub(super) struct Text;

impl<'writer> FormatFields<'writer> for Text {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { writer, result: Ok(()), begun: false };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
    begun: bool,
}

impl Visitor<'_> {
    fn put(&mut self, field: &Field, value: &dyn Debug) -> fmt::Result {
        if self.begun {
            self.writer.write_char(' ')?;
        }
        self.begun = true;
        match (field.name(), self.writer.has_ansi_escapes()) {
            ("message", _) => {}
            // The name in italics, and the sign dimmed.
            (name, true) => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            (name, false) => write!(self.writer, "{name}=")?,
        }
        write!(Escaped(&mut self.writer), "{value:?}")
    }
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            self.result = self.put(field, value);
        }
    }
}

/// Escapes what could end a line, command a terminal, or turn around the direction of the text behind it.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, sign)) = rest.char_indices().find(|&(_, sign)| is_harmful(sign)) {
            write!(self.0, "{}{}", &rest[..at], sign.escape_default())?;
            rest = &rest[at + sign.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

fn is_harmful(sign: char) -> bool {
    sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use crate::log::tests::captured;

    #[test]
    fn no_value_ends_a_line_or_commands_a_terminal() {
        let name = "m\nERROR forged\r\u{1b}[2J\u{9b}1m\u{7}\u{2028}\u{202e}";
        let escaped = "m\\nERROR forged\\r\\u{1b}[2J\\u{9b}1m\\u{7}\\u{2028}\\u{202e}";
        let text = captured(false, || tracing::info!(shown = %name, debug = name, number = 3, "of {name}"));
        let line =
            format!(" INFO kvleap::log::text::tests: of {escaped} shown={escaped} debug=\"{escaped}\" number=3\n");
        assert_eq!(text, line);
        let colours = captured(true, || tracing::info!(shown = %name, "of {name}"));
        assert_eq!((colours.lines().count(), colours.contains("[2J"), colours.contains("\u{1b}[2J")), (1, true, false));
    }
}
