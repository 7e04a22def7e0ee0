"use strict";
// The report's terminal: plays what the agent's client was shown. Text reaches the page by textContent alone.
(() => {
  const cast = JSON.parse(document.getElementById("cast").textContent);
  const player = document.getElementById("player");
  if (!cast.events.length) return;
  player.hidden = false;

  const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
  const joins = /^\p{M}$/u;

  class Terminal {
    constructor(columns, rows) {
      this.columns = columns;
      this.rows = rows;
      this.reset();
    }

    reset() {
      this.history = [];
      this.lines = Array.from({ length: this.rows }, () => []);
      this.row = this.column = 0;
      this.style = "";
      this.top = 0;
      this.bottom = this.rows - 1;
      this.saved = [0, 0, ""];
      this.cursor = true;
      this.main = null;
      this.pending = "";
    }

    write(text) {
      text = this.pending + text;
      this.pending = "";
      const token = /\x1b\[([0-9;:?]*)([ -/]*)([@-~])|\x1b[()*+ #%].|\x1b([78DEMHc=>])|\x1b(?![\s\S]{2})[\s\S]?$|\x1b\[[0-9;:?]*$|[\r\n\b\t]|[^\x00-\x1f\x7f]|[\s\S]/gu;
      for (const t of text.matchAll(token)) {
        if (t[3]) this.csi(t[1], t[3]);
        else if (t[4]) this.escape(t[4]);
        else if (t[0][0] === "\x1b") this.pending = t.index + t[0].length === text.length ? t[0] : "";
        else this.plain(t[0]);
      }
    }

    plain(c) {
      if (c === "\r") this.column = 0;
      else if (c === "\n") this.feed();
      else if (c === "\b") this.column = Math.max(0, this.column - 1);
      else if (c === "\t") this.column = Math.min(this.columns - 1, (this.column & ~7) + 8);
      else if (c >= " ") this.put(c);
    }

    put(c) {
      const line = this.lines[this.row];
      if (joins.test(c) && this.column > 0 && line[this.column - 1]) {
        line[this.column - 1][0] += c;
        return;
      }
      const width = wide.test(c) ? 2 : 1;
      if (this.column + width > this.columns) {
        this.column = 0;
        this.feed();
        return this.put(c);
      }
      this.lines[this.row][this.column++] = [c, this.style];
      if (width === 2) this.lines[this.row][this.column++] = ["", this.style];
    }

    feed() {
      if (this.row === this.bottom) this.scroll(1);
      else if (this.row < this.rows - 1) this.row++;
    }

    scroll(n) {
      for (; n > 0; n--) {
        const [gone] = this.lines.splice(this.top, 1);
        if (this.top === 0 && !this.main && this.history.push(gone) > 2000) this.history.shift();
        this.lines.splice(this.bottom, 0, []);
      }
      for (; n < 0; n++) {
        this.lines.splice(this.bottom, 1);
        this.lines.splice(this.top, 0, []);
      }
    }

    escape(c) {
      if (c === "7") this.saved = [this.row, this.column, this.style];
      else if (c === "8") [this.row, this.column, this.style] = this.saved;
      else if (c === "D") this.feed();
      else if (c === "E") { this.column = 0; this.feed(); }
      else if (c === "M") this.row === this.top ? this.scroll(-1) : this.row = Math.max(0, this.row - 1);
    }

    csi(text, final) {
      const mode = text[0] === "?";
      const all = text.replace("?", "").split(/[;:]/).map((n) => Math.min(parseInt(n, 10) || 0, 9999));
      const n = all[0] || 1;
      const line = this.lines[this.row];
      const clip = (v, max) => Math.max(0, Math.min(v, max));
      const blank = (from, to) => { for (let i = from; i < to; i++) line[i] = [" ", this.style]; };
      const act = {
        A: () => { this.row = clip(this.row - n, this.rows - 1); },
        B: () => { this.row = clip(this.row + n, this.rows - 1); },
        C: () => { this.column = clip(this.column + n, this.columns - 1); },
        D: () => { this.column = clip(this.column - n, this.columns - 1); },
        E: () => { this.column = 0; this.row = clip(this.row + n, this.rows - 1); },
        F: () => { this.column = 0; this.row = clip(this.row - n, this.rows - 1); },
        G: () => { this.column = clip(n - 1, this.columns - 1); },
        "`": () => { this.column = clip(n - 1, this.columns - 1); },
        H: () => { this.row = clip(n - 1, this.rows - 1); this.column = clip((all[1] || 1) - 1, this.columns - 1); },
        d: () => { this.row = clip(n - 1, this.rows - 1); },
        J: () => this.clear(all[0]),
        K: () => { if (all[0] === 0) line.length = Math.min(line.length, this.column); else if (all[0] === 1) blank(0, this.column + 1); else line.length = 0; },
        X: () => blank(this.column, Math.min(this.columns, this.column + n)),
        P: () => { line.splice(this.column, n); },
        "@": () => { line.splice(this.column, 0, ...Array.from({ length: Math.min(n, this.columns) }, () => [" ", this.style])); line.length = Math.min(line.length, this.columns); },
        L: () => { for (let i = 0; i < Math.min(n, this.rows); i++) { this.lines.splice(this.bottom, 1); this.lines.splice(this.row, 0, []); } },
        M: () => { for (let i = 0; i < Math.min(n, this.rows); i++) { this.lines.splice(this.row, 1); this.lines.splice(this.bottom, 0, []); } },
        S: () => this.scroll(Math.min(n, this.rows)),
        T: () => this.scroll(-Math.min(n, this.rows)),
        m: () => this.paint(all),
        r: () => { this.top = clip(n - 1, this.rows - 2); this.bottom = clip((all[1] || this.rows) - 1, this.rows - 1); if (this.bottom <= this.top) { this.top = 0; this.bottom = this.rows - 1; } this.row = this.column = 0; },
        s: () => this.escape("7"),
        u: () => this.escape("8"),
        h: () => mode && this.mode(all, true),
        l: () => mode && this.mode(all, false),
      };
      act.a = act.C; act.e = act.B; act.f = act.H;
      if (act[final]) act[final]();
    }

    mode(all, on) {
      if (all.includes(25)) this.cursor = on;
      if (all.some((m) => m === 1049 || m === 47 || m === 1047)) {
        if (on && !this.main) {
          this.main = [this.lines, this.row, this.column];
          this.lines = Array.from({ length: this.rows }, () => []);
        } else if (!on && this.main) {
          [this.lines, this.row, this.column] = this.main;
          this.main = null;
        }
      }
    }

    clear(how) {
      const from = how === 0 ? this.row + 1 : 0;
      const to = how === 1 ? this.row : this.rows;
      if (how === 0) this.lines[this.row].length = Math.min(this.lines[this.row].length, this.column);
      for (let i = from; i < to; i++) this.lines[i] = [];
    }

    paint(all) {
      const set = new Set(this.style.split(" ").filter(Boolean));
      const color = (side, name) => { for (const s of set) if (s[0] === side && s !== "b" || s[0] === side.toUpperCase()) set.delete(s); if (name) set.add(name); };
      for (let i = 0; i < all.length; i++) {
        const c = all[i];
        if (c === 0) set.clear();
        else if (c === 1) set.add("b");
        else if (c === 2) set.add("d");
        else if (c === 3) set.add("i");
        else if (c === 4) set.add("u");
        else if (c === 7) set.add("v");
        else if (c === 22) { set.delete("b"); set.delete("d"); }
        else if (c === 23) set.delete("i");
        else if (c === 24) set.delete("u");
        else if (c === 27) set.delete("v");
        else if (c >= 30 && c <= 37) color("f", "f" + (c - 30));
        else if (c >= 90 && c <= 97) color("f", "f" + (c - 82));
        else if (c >= 40 && c <= 47) color("g", "g" + (c - 40));
        else if (c >= 100 && c <= 107) color("g", "g" + (c - 92));
        else if (c === 39) color("f", "");
        else if (c === 49) color("g", "");
        else if (c === 38 || c === 48) {
          const side = c === 38 ? "f" : "g";
          if (all[i + 1] === 5) {
            const n = all[i + 2] & 255;
            color(side, n < 16 ? side + n : side.toUpperCase() + rgb(n));
            i += 2;
          } else if (all[i + 1] === 2) {
            color(side, side.toUpperCase() + all.slice(i + 2, i + 5).map((v) => (v & 255).toString(16).padStart(2, "0")).join(""));
            i += 4;
          }
        }
      }
      this.style = [...set].join(" ");
    }
  }

  function rgb(n) {
    const hex = (v) => v.toString(16).padStart(2, "0");
    if (n >= 232) return hex(8 + (n - 232) * 10).repeat(3);
    n -= 16;
    return [n / 36, n / 6 % 6, n % 6].map((v) => hex(Math.floor(v) ? 55 + Math.floor(v) * 40 : 0)).join("");
  }

  const screen = document.getElementById("screen");

  function dress(span, style) {
    for (const s of style.split(" ")) {
      if (s === "v") span.classList.add("inv");
      else if (s[0] === "F") span.style.color = "#" + s.slice(1);
      else if (s[0] === "G") span.style.backgroundColor = "#" + s.slice(1);
      else if (s) span.classList.add(s);
    }
  }

  function show(terminal) {
    const page = document.createDocumentFragment();
    const lines = [...terminal.history, ...terminal.lines];
    const cursor = terminal.history.length + terminal.row;
    let end = lines.length;
    while (end > cursor + 1 && !lines[end - 1].length) end--;
    lines.slice(0, end).forEach((line, y) => {
      const cells = Array.from(line, (c) => c || [" ", ""]);
      if (y === cursor && terminal.cursor) {
        while (cells.length <= terminal.column) cells.push([" ", ""]);
        const [c, s] = cells[Math.min(terminal.column, cells.length - 1)];
        cells[Math.min(terminal.column, cells.length - 1)] = [c || " ", s + " cur"];
      }
      for (let x = 0; x < cells.length;) {
        let text = "";
        const style = cells[x][1];
        for (; x < cells.length && cells[x][1] === style; x++) text += cells[x][0];
        const span = document.createElement("span");
        span.textContent = text;
        dress(span, style);
        page.append(span);
      }
      page.append("\n");
    });
    screen.replaceChildren(page);
    screen.scrollTop = screen.scrollHeight;
  }

  // ---- time ----

  const button = document.getElementById("play");
  const seek = document.getElementById("seek");
  const clock = document.getElementById("clock");
  const speed = document.getElementById("speed");
  const idle = 2;
  const terminal = new Terminal(cast.columns, cast.rows);
  // Long pauses are shortened: nobody learns from them. The clock shows the session's own time.
  let at = 0;
  const events = cast.events.map(([time, text], i) => {
    at += i ? Math.min(time - cast.events[i - 1][0], idle) : 0;
    return { at, time, text };
  });
  const total = at + 0.001;
  let now = 0;
  let next = 0;
  let playing = false;
  let last = 0;

  function stamp(seconds) {
    const s = Math.floor(seconds);
    return [s / 3600, s / 60 % 60, s % 60].map((v) => String(Math.floor(v)).padStart(2, "0")).join(":");
  }

  function go(to) {
    if (to < now) {
      terminal.reset();
      next = 0;
    }
    now = Math.max(0, Math.min(to, total));
    const before = next;
    while (next < events.length && events[next].at <= now) terminal.write(events[next++].text);
    if (next !== before || to === 0) show(terminal);
    seek.value = String(Math.round(now / total * 1000));
    clock.textContent = stamp(next ? events[next - 1].time : 0) + " / " + stamp(events[events.length - 1].time);
  }

  function set(on) {
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    if (on) {
      if (now >= total) go(0);
      last = performance.now();
      requestAnimationFrame(tick);
    }
  }

  function tick(time) {
    if (!playing) return;
    go(now + Math.max(0, time - last) / 1000 * Number(speed.value));
    last = Math.max(last, time);
    if (now >= total) set(false);
    else requestAnimationFrame(tick);
  }

  button.addEventListener("click", () => set(!playing));
  seek.addEventListener("input", () => { set(false); go(Number(seek.value) / 1000 * total); });
  go(total);
})();
