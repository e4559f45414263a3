//! The live page in a real browser: real numbers, changes, restarts, tokens, narrow screens, many engines.

#[path = "common/browser.rs"]
mod browser;

use std::net::SocketAddr;

use kvleap::service::{Config, Key, Server};
use kvleap::{Block, BlockHasher, Event, EventData, Worker};

use browser::Browser;

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

fn text(id: &str) -> String {
    format!("document.getElementById('{id}').textContent")
}

/// Fills in the prompt and asks.
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
fn it_shows_real_numbers_and_follows_a_change() {
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
    assert_eq!(browser.eval(&text("answer-summary")), "3 hold some of it (5 blocks, 20 tokens).");
    let answer =
        "[...document.querySelectorAll('#answer li')].map((item) => item.innerText.replace(/\\s+/g, ' ')).join('|')";
    assert_eq!(
        browser.eval(answer),
        "7/0 5 of 5 blocks, 20 tokens|9/0 5 of 5 blocks, 20 tokens|8/0 3 of 5 blocks, 12 tokens"
    );
    // Hashes are beyond what numbers of JavaScript are exact to, and may be signed.
    let locals = BlockHasher::new(4).expect("not 0").hash(&(0..8).collect::<Vec<u32>>());
    ask(&mut browser, "hashes", &format!("[{}, {}]", locals[0], locals[1].cast_signed()));
    assert_eq!(browser.eval(&text("answer-summary")), "3 hold some of it (2 blocks, 8 tokens).");
    ask(&mut browser, "bytes", "Grüße");
    assert_eq!(browser.eval(&text("answer-summary")), "Nobody holds the first block of it (1 block, 4 tokens).");
    ask(&mut browser, "tokens", "1, two");
    assert_eq!(browser.eval(&text("answer-summary")), "Not looked up: “two” is not such a number.");
    ask(&mut browser, "tokens", "4294967296");
    let refusal = browser.eval(&text("answer-summary"));
    assert!(refusal.as_str().is_some_and(|text| text.starts_with("Not looked up: the body")), "{refusal}");
    browser.screenshot("wide");
}

#[test]
fn it_recovers_when_the_server_restarts() {
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
}

#[test]
fn nothing_is_wider_than_a_phone() {
    let Some(mut browser) = Browser::start("phone") else { return };
    let server = anywhere();
    store(&server, "an-organisation/a-model-with-quite-a-long-name-70B-Instruct-FP8", u64::MAX, 10);
    browser.resize(390, 844);
    browser.open(&format!("http://{}/", server.address()));
    browser.wait("document.getElementById('blocks-note').textContent === '10 held'");
    ask(&mut browser, "tokens", "0,1,2,3,4,5,6,7");
    assert_eq!(browser.eval(&text("answer-summary")), "1 holds some of it (2 blocks, 8 tokens).");
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 390);
    browser.screenshot("phone");
}

#[test]
fn it_loads_nothing_from_elsewhere_and_complains_of_nothing() {
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
}
