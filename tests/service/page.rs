//! The live page in a real browser: real numbers, changes, restarts, tokens, narrow screens, many engines.

use std::net::SocketAddr;
use std::sync::Arc;

use kvleap::service::ingest::{DynamoBlock, DynamoData, DynamoEvent, NumberedEvent, StorageTier, dynamo_events};
use kvleap::service::{Config, Key, Publisher, Server};
use kvleap::{Block, BlockHasher, Event, EventData, Worker};

use crate::common::browser::Browser;
use crate::common::scratch::Scratch;

fn serve(listen: SocketAddr) -> Server {
    Server::start(Config { listen, threads: 1, ..Config::default() }).expect("a free port")
}

fn anywhere() -> Server {
    serve(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Worker `id` stores the first `blocks` of the tokens 0, 1, ..., in blocks of 4.
fn store(server: &Server, model: &str, id: u64, blocks: u64) {
    let model = server.indexer().models().get_or_add(&Key::new(model), 4).expect("blocks of 4");
    let tokens: Vec<u32> = (0..4 * blocks as u32).collect();
    let locals = BlockHasher::new(4).expect("not 0").hash(&tokens);
    let blocks = (1..).zip(locals).map(|(sequence, local)| Block { sequence, local }).collect();
    let data = EventData::Stored { parent: None, blocks };
    model.index().send(Event { worker: Worker::new(id, 0), id: 1, data }).expect("it runs");
}

/// Engine `id` says over HTTP that it stored this many blocks.
fn report(server: &Server, id: u64, blocks: u64) {
    let model = server.indexer().models().get_or_add(&Key::new("llama"), 16).expect("blocks of 16");
    let worker = Worker::new(id, 0);
    let publisher = model.publishers().get(worker).unwrap_or_else(|| {
        let publisher = Arc::new(Publisher::http(worker));
        model.publishers().put(&publisher);
        publisher
    });
    let blocks = (0..blocks).map(|name| DynamoBlock { block_hash: name, tokens_hash: name }).collect();
    let data = DynamoData::Stored { parent_hash: None, blocks };
    let event = NumberedEvent { event_id: 1, data, dp_rank: 0 };
    let event = DynamoEvent { worker_id: id, storage_tier: StorageTier::Device, event };
    dynamo_events(&model, &publisher, &[event]).expect("it runs");
}

fn text(id: &str) -> String {
    format!("document.getElementById('{id}').textContent")
}

/// Fills in the prompt, asks, and waits for the answer.
fn ask(browser: &mut Browser, form: &str, content: &str) {
    browser.eval(&format!(
        "{{ const $ = (id) => document.getElementById(id);
            $('form').value = '{form}'; $('form').dispatchEvent(new Event('change'));
            $('content').value = '{content}'; $('answer-summary').textContent = '';
            $('prompt').requestSubmit(); }}"
    ));
    browser.wait("document.getElementById('answer-summary').textContent");
}

#[test]
fn the_page_shows_real_numbers_and_follows_changes() {
    let Some(mut browser) = Browser::start("numbers") else { return };
    let server = anywhere();
    store(&server, "llama", 7, 10);
    store(&server, "llama", 8, 3);
    browser.resize(1280, 900);
    browser.open(&format!("http://{}/", server.address()));
    browser.wait("document.getElementById('connection').textContent === 'connected'");
    assert_eq!(browser.eval(&text("blocks-note")), "13 held");
    let cells = "[...document.querySelectorAll('#models tbody td')].map((cell) => cell.textContent).join('|')";
    let cells = browser.eval(cells);
    assert!(cells.as_str().is_some_and(|cells| cells.starts_with("llama|default|4|13|10|1|")), "{cells}");

    store(&server, "llama", 9, 5);
    store(&server, "mistral", 1, 1);
    browser.wait("document.getElementById('blocks-note').textContent === '19 held'");
    browser.wait("document.querySelectorAll('#models tbody tr').length === 2");

    let tokens = (0..22).map(|token| token.to_string()).collect::<Vec<_>>().join(", ");
    ask(&mut browser, "tokens", &tokens);
    assert_eq!(browser.eval(&text("answer-summary")), "3 workers hold some of it (5 blocks, 20 tokens).");
    let answer =
        "[...document.querySelectorAll('#answer li')].map((item) => item.innerText.replace(/\\s+/g, ' ')).join('|')";
    assert_eq!(
        browser.eval(answer),
        "7/0 5 of 5 blocks, 20 tokens|9/0 5 of 5 blocks, 20 tokens|8/0 3 of 5 blocks, 12 tokens"
    );
    // Hashes are too large for JavaScript's numbers to be exact, and may be signed.
    let locals = BlockHasher::new(4).expect("not 0").hash(&(0..8).collect::<Vec<u32>>());
    ask(&mut browser, "hashes", &format!("[{}, {}]", locals[0], locals[1].cast_signed()));
    assert_eq!(browser.eval(&text("answer-summary")), "3 workers hold some of it (2 blocks, 8 tokens).");
    ask(&mut browser, "bytes", "Grüße");
    assert_eq!(browser.eval(&text("answer-summary")), "No worker holds the first block of it (1 block, 4 tokens).");
    ask(&mut browser, "tokens", "1, two");
    assert_eq!(browser.eval(&text("answer-summary")), "The lookup failed: \"two\" is not a valid number.");
    ask(&mut browser, "tokens", "4294967296");
    let refusal = browser.eval(&text("answer-summary"));
    assert!(refusal.as_str().is_some_and(|text| text.starts_with("The lookup failed: invalid value")), "{refusal}");
    browser.screenshot("wide");
    server.stop();
}

#[test]
fn the_page_recovers_when_the_server_restarts() {
    let Some(mut browser) = Browser::start("restart") else { return };
    let server = anywhere();
    let address = server.address();
    store(&server, "before", 7, 10);
    browser.open(&format!("http://{address}/"));
    browser.wait("document.getElementById('blocks-note').textContent === '10 held'");
    server.stop();
    browser.wait(
        "document.getElementById('connection').textContent.startsWith('connection lost, trying again; figures of')",
    );
    assert_eq!(browser.eval("document.body.classList.contains('stale')"), true);
    assert_eq!(browser.eval(&text("blocks-note")), "10 held", "the last figures stay, and are marked as such");
    browser.screenshot("lost");

    let server = serve(address);
    store(&server, "after", 7, 4);
    browser.wait("document.getElementById('blocks-note').textContent === '4 held'");
    assert_eq!(browser.eval(&text("connection")), "connected");
    assert_eq!(browser.eval("document.body.classList.contains('stale')"), false);
    assert_eq!(browser.eval("document.querySelector('#models tbody td').textContent"), "after");
    server.stop();
}

/// Reads the first column of the table of engines.
const SHOWN: &str =
    "[...document.querySelectorAll('#engines tbody tr')].map((row) => row.cells[0].textContent).join(' ')";

#[test]
fn five_hundred_engines_are_sorted_filtered_and_updated_in_place() {
    let Some(mut browser) = Browser::start("engines") else { return };
    let server = anywhere();
    (1..=500).for_each(|id| report(&server, id, 1 + id * 7 % 500));
    browser.resize(1280, 900);
    browser.open(&format!("http://{}/", server.address()));
    browser.wait("document.getElementById('shown').textContent === '500 of 500 shown'");
    assert_eq!(browser.eval(&text("live")), "500 of 500");
    let numbers = (1..=500).map(|id| format!("{id}/0")).collect::<Vec<_>>().join(" ");
    assert_eq!(browser.eval(SHOWN), numbers, "sorted as numbers and not as text");

    // Sort by the largest first, with the keyboard.
    browser.eval("document.querySelector('#engines th[data-key=held] button').focus()");
    browser.press("Enter");
    assert_eq!(browser.eval("document.querySelector('#engines th[data-key=held]').ariaSort"), "descending");
    assert_eq!(browser.eval("document.querySelectorAll('#engines [aria-sort]').length"), 1);
    assert_eq!(browser.eval("document.querySelector('#engines tbody tr').cells[3].textContent"), "500");
    browser.eval("document.getElementById('filter').focus()");
    browser.type_text("17/0");
    assert_eq!(browser.eval(SHOWN), "417/0 117/0 317/0 17/0 217/0");
    assert_eq!(browser.eval(&text("shown")), "5 of 500 shown");
    browser.screenshot("engines");

    // An update keeps the elements of the rows, so that selections stay and nothing flickers.
    browser.eval(
        "self.before = [...document.querySelectorAll('#engines tbody tr')]; before.forEach((row) => row.old = true)",
    );
    report(&server, 1017, 5);
    browser.wait("document.getElementById('shown').textContent === '6 of 501 shown'");
    assert_eq!(browser.eval("before.every((row) => row.isConnected && row.old)"), true);
    let models = server.indexer().models().all();
    models[0].publishers().remove(&models[0].publishers().get(Worker::new(417, 0)).expect("it reported"));
    browser.wait("document.getElementById('shown').textContent === '5 of 500 shown'");
    assert_eq!(browser.eval(SHOWN), "117/0 317/0 17/0 217/0 1017/0");
    server.stop();
}

#[test]
fn a_token_is_asked_for_and_kept_for_the_tab() {
    let Some(mut browser) = Browser::start("token") else { return };
    let scratch = Scratch::new("token");
    let token = "a-token-of-a-reader";
    let file = scratch.file_path("tokens", token);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen, threads: 1, read_token_file: Some(file), ..Config::default() };
    let server = Server::start(config).expect("a free port");
    store(&server, "llama", 7, 10);
    let url = format!("http://{}/", server.address());
    browser.open(&url);
    browser.wait("!document.getElementById('login').hidden");
    assert_eq!(browser.eval(&text("blocks-note")), "");
    for (given, then) in [
        ("wrong", "document.getElementById('login-error').textContent"),
        (token, "document.getElementById('login').hidden"),
    ] {
        browser.eval("document.getElementById('token').focus()");
        browser.type_text(given);
        browser.press("Enter");
        browser.wait(then);
    }
    browser.wait("document.getElementById('blocks-note').textContent === '10 held'");
    ask(&mut browser, "tokens", "0 1 2 3");
    assert_eq!(browser.eval(&text("answer-summary")), "1 worker holds some of it (1 block, 4 tokens).");
    browser.open(&url);
    browser.wait("document.getElementById('blocks-note').textContent === '10 held'");
    assert_eq!(browser.eval("localStorage.length + document.cookie.length"), 0, "only the tab keeps the token");
    server.stop();
}

#[test]
fn nothing_is_wider_than_a_phone() {
    let Some(mut browser) = Browser::start("phone") else { return };
    let server = anywhere();
    report(&server, u64::MAX, 4);
    store(&server, "an-organisation/a-model-with-quite-a-long-name-70B-Instruct-FP8", u64::MAX, 10);
    browser.resize(390, 844);
    browser.open(&format!("http://{}/", server.address()));
    browser.wait("document.getElementById('blocks-note').textContent === '14 held'");
    ask(&mut browser, "tokens", "0,1,2,3,4,5,6,7");
    assert_eq!(browser.eval(&text("answer-summary")), "1 worker holds some of it (2 blocks, 8 tokens).");
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 390);
    browser.screenshot("phone");
    browser.eval("document.getElementById('filter').scrollIntoView()");
    browser.screenshot("phone-engines");
    server.stop();
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_reports_no_error() {
    let Some(mut browser) = Browser::start("quiet") else { return };
    let server = anywhere();
    let address = server.address();
    let script =
        "self.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.blockedURI));
                  addEventListener('error', (e) => violations.push(e.message));";
    browser.call("Page.addScriptToEvaluateOnNewDocument", &serde_json::json!({"source": script}));
    browser.open(&format!("http://{address}/"));
    browser.wait("document.getElementById('connection').textContent === 'connected'");
    assert_eq!(browser.eval("violations"), serde_json::json!([]));
    let loaded = "performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(origin))";
    assert_eq!(browser.eval(loaded), serde_json::json!([]));
    assert_eq!(
        browser.eval(
            "fetch('/').then((page) => page.headers.get('content-security-policy').startsWith(\"default-src 'none'\"))"
        ),
        true
    );
    server.stop();
}
