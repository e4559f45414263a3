//! A real browser for tests: headless Chromium, driven over two pipes by its debugging protocol.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// One page in a browser of its own.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Value,
    calls: u64,
    profile: PathBuf,
}

/// The names under which Chromium may be installed. The environment variable `CHROMIUM` comes before them.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

impl Browser {
    /// Opens an empty page. Without a Chromium, prints so and returns `None`. `test` names the profile, so every test
    /// needs another one.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let profile = env::temp_dir().join(format!("kvleap-browser-{}-{test}", std::process::id()));
        let named = env::var("CHROMIUM").ok();
        for name in named.iter().map(String::as_str).chain(NAMES) {
            // The browser reads commands from descriptor 3 and answers on 4.
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", "sh", name]);
            // Tests may run as root, where the browser's own sandbox does not work. The browser sees only the page
            // under test.
            shell.args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ]);
            shell.args(["--disable-background-networking", "--remote-debugging-pipe"]);
            shell.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
            shell.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = shell.spawn().expect("a shell");
            let commands = process.stdin.take().expect("it is piped");
            let answers = BufReader::new(process.stdout.take().expect("it is piped"));
            let session = Value::Null;
            let mut browser = Self { process, commands, answers, session, calls: 0, profile: profile.clone() };
            if browser.attach().is_some() {
                return Some(browser);
            }
        }
        // Write to stderr directly, because the test harness hides what a passing test prints.
        writeln!(io::stderr(), "SKIPPED: no browser found; install chromium").expect("stderr is open");
        None
    }

    fn attach(&mut self) -> Option<()> {
        let targets = self.try_call("Target.getTargets", &json!({}))?;
        let targets = targets["targetInfos"].as_array()?;
        let page = targets.iter().find(|target| target["type"] == "page")?["targetId"].clone();
        let attached = self.try_call("Target.attachToTarget", &json!({"targetId": page, "flatten": true}))?;
        self.session = attached["sessionId"].clone();
        self.try_call("Page.enable", &json!({})).map(drop)
    }

    /// Calls a method of the protocol. Returns `None` if the browser is gone.
    fn try_call(&mut self, method: &str, params: &Value) -> Option<Value> {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if self.session != Value::Null {
            call["sessionId"] = self.session.clone();
        }
        self.commands.write_all(format!("{call}\0").as_bytes()).ok()?;
        loop {
            let mut message = Vec::new();
            self.answers.read_until(0, &mut message).ok()?;
            let message: Value = serde_json::from_slice(message.strip_suffix(&[0])?).expect("the protocol is JSON");
            // Messages without this number are events.
            if message["id"] == self.calls {
                assert_eq!(message["error"], Value::Null, "{method} {params}");
                return Some(message["result"].clone());
            }
        }
    }

    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.try_call(method, params).expect("the browser is there")
    }

    /// Evaluates an expression in the page. A promise is awaited.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until the condition holds in the page. The browser polls it, and gives up after a minute.
    pub(crate) fn wait(&mut self, condition: &str) {
        let holds = self.eval(&format!(
            "new Promise((done) => {{
                const end = Date.now() + 60000;
                const look = () => {{
                    const holds = Boolean({condition});
                    if (holds || Date.now() > end) done(holds); else setTimeout(look, 20);
                }};
                look();
            }})"
        ));
        if holds != true {
            let text = self.eval("document.body.innerText");
            panic!("timed out waiting for: {condition}\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Gives the page a screen of this many CSS pixels.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let phone = width < 500;
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", &params);
    }

    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        self.wait("document.readyState === 'complete'");
    }

    /// Presses `Enter` or `Tab`.
    pub(crate) fn press(&mut self, key: &str) {
        let code = if key == "Enter" { 13 } else { 9 };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Types into the element that has the focus.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Saves a screenshot as `name.png.base64` if `KVLEAP_SCREENSHOTS` names a directory.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(directory) = env::var_os("KVLEAP_SCREENSHOTS") else { return };
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let path = PathBuf::from(directory).join(format!("{name}.png.base64"));
        std::fs::write(path, picture["data"].as_str().expect("a picture")).expect("the directory is there");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that is told to close ends its child processes, too. If it is already gone, the errors do not
        // matter.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let _ = io::copy(&mut self.answers, &mut io::sink());
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
