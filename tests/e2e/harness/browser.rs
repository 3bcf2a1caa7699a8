//! A real browser: headless Chromium, told what to do through its DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::gateway::eventually;
use super::wire::BOUND;

/// A browser with one page, ended when dropped.
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    session: String,
    asked: u64,
    /// What the page complained about so far.
    complaints: Vec<String>,
    child: Child,
    _profile: TempDir,
}

impl Browser {
    /// Opens `url` in a window of this size, in pixels of CSS.
    #[track_caller]
    pub(crate) fn open(url: &str, width: u32, height: u32) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0"])
            // Whatever it would like to reach beside this machine has no address.
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|fault| panic!("no chromium (Debian package chromium): {fault}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("DevTools listening on ")?.to_owned()))
            .unwrap_or_else(|| panic!("chromium does not start"));
        // A pipe that nobody empties would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let host = address.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let (socket, _) = tungstenite::client(address.as_str(), stream).unwrap();
        let session = String::new();
        let mut browser =
            Browser { socket, session, asked: 0, complaints: vec![], child, _profile: profile };
        let target = browser.tell("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.tell("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        browser.tell("Page.navigate", json!({"url": url}));
        browser.await_true("document.readyState === 'complete'");
        browser
    }

    /// Makes the window another size; narrow ones are those of a phone.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.tell("Emulation.setDeviceMetricsOverride", size);
    }

    /// Shows the page to somebody who prefers `dark` or `light`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.tell("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// What an expression comes to on the page.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
            "userGesture": true,
        });
        let told = self.tell("Runtime.evaluate", asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told:#}");
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true on the page.
    #[track_caller]
    pub(crate) fn await_true(&mut self, expression: &str) {
        eventually(expression, || self.value(expression) == true);
    }

    /// The text that the page shows.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        self.value("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// A picture of the window, as PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let shot = self.tell("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// Errors of scripts, of loading and of the page's policy so far; what was forbidden to it too.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // Whatever was said before this answer has come by then.
        self.value("1");
        self.complaints.clone()
    }

    #[track_caller]
    fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let said = self.socket.read().unwrap_or_else(|fault| panic!("{method}: {fault}"));
            let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
            if said["id"] == self.asked {
                assert!(said["error"].is_null(), "{method}: {said:#}");
                return said["result"].clone();
            }
            self.hear(&said);
        }
    }

    fn hear(&mut self, said: &Value) {
        let parameters = &said["params"];
        let bad = match said["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => {
                ["error", "warning"].contains(&parameters["entry"]["level"].as_str().unwrap())
            }
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning", "assert"].contains(&parameters["type"].as_str().unwrap())
            }
            _ => false,
        };
        if bad {
            self.complaints.push(parameters.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
