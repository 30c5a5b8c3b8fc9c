// Uploads an archive from the browser to the upload URL of its batch: in chunks, over a bad line, and on after a
// reload, from the byte that Cloud Storage says.
// https://cloud.google.com/storage/docs/performing-resumable-uploads
//
// The upload URL is a secret. It is asked for anew each time, and kept in this script's memory alone. What is
// kept in the browser is the file's name, size and date, by which the same file is known again.

const QUANTUM = 256 * 1024
const CHUNK = 32 * QUANTUM // 8 MiB; what of one arrives before the line breaks is kept, too
const LONGEST_WAIT = 60 // seconds between two tries
const SILENCE = 60 // seconds without a byte sent, after which the line is taken for broken
const OVER = "This batch waits for no archive any more: here is what became of it."
const RATE_OVER = 10 // seconds over which the rate is measured

// What Cloud Storage has, by one answer of it: {done}, {at: bytes kept}, {gone: a sentence} or {again: true}.
export function standing(status, range, body, size) {
  if (status === 308) {
    const found = /^bytes=0-(\d+)$/.exec(range || "")
    return { at: found ? Number(found[1]) + 1 : 0 }
  }
  if (status === 200 || status === 201) {
    // Only the object itself says so: the sign-in page of a network answers 200, too.
    try {
      if (Number(JSON.parse(body).size) === size) return { done: true }
    } catch { /* not the object */ }
    return { again: true }
  }
  if (status === 404 || status === 410 || status === 499) return { gone: "Its upload URL does not work any more. Make another batch, and upload there." }
  if (status === 400 || status === 403 || status === 412) return { gone: "Cloud Storage refuses the upload. Make another batch, and upload there." }
  return { again: true }
}

// The bytes that are sent next: whole quanta but for the last.
export function span(at, size) {
  return [at, Math.min(at + CHUNK, size)]
}

export function wait(tries, random = Math.random()) {
  return Math.min(2 ** tries, LONGEST_WAIT) * (0.5 + random / 2)
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"]
  let at = 0
  while (count >= 999.95 && at < 3) { count /= 1000; at++ }
  return at ? `${count.toFixed(1)} ${units[at]}` : `${count} bytes`
}

export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

// Whether a file can be the one whose upload was begun: a sentence where it cannot.
export function other(before, file) {
  if (!before) return ""
  if (before.name === file.name && before.size === file.size && before.modified === file.lastModified) return ""
  return `This is not the file whose upload was begun. Choose “${before.name}” of ${bytes(before.size)}, unchanged since then.`
}

class Stopped extends Error {} // paused, or replaced by another try
class Told extends Error {} // its text is for the person

class Upload {
  constructor(root) {
    this.root = root
    this.key = `waybill.upload.${root.dataset.batch}`
    this.of = id => root.querySelector(`#upload-${id}`)
    this.running = null // what can be stopped
    this.file = null
    this.sent = 0
    this.seen = [] // [time, bytes], for the rate
    root.hidden = false
    if (location.origin !== root.dataset.origin) {
      this.of("file").disabled = true
      return this.say(`Open the console at ${root.dataset.origin} to upload: this batch was made for that address.`)
    }
    this.of("file").addEventListener("change", event => this.choose(event.target.files[0]))
    this.of("pause").addEventListener("click", () => this.pause())
    this.of("resume").addEventListener("click", () => this.begin())
    this.drops(root.querySelector(".drop"))
    addEventListener("beforeunload", event => { if (this.running) event.preventDefault() })
    addEventListener("online", () => this.wake?.())
    const before = this.before()
    if (before) this.say(`An upload was begun: choose “${before.name}” again, and it goes on.`)
  }

  drops(zone) {
    const over = on => event => { event.preventDefault(); zone.classList.toggle("over", on) }
    zone.addEventListener("dragover", over(true))
    zone.addEventListener("dragleave", over(false))
    zone.addEventListener("drop", event => { over(false)(event); this.choose(event.dataTransfer.files[0]) })
    // A file that misses the zone would be opened in place of the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, event => event.preventDefault())
  }

  before() {
    try { return JSON.parse(localStorage.getItem(this.key)) } catch { return null }
  }

  remember(file) {
    try {
      if (file) localStorage.setItem(this.key, JSON.stringify({ name: file.name, size: file.size, modified: file.lastModified }))
      else localStorage.removeItem(this.key)
    } catch { /* a browser that keeps nothing: the upload works, and is not known again */ }
  }

  say(text) { this.of("said").textContent = text }

  show() {
    const size = this.file.size, numbers = [`${bytes(this.sent)} of ${bytes(size)}`]
    this.of("progress").hidden = false
    this.of("progress").querySelector("progress").value = size ? this.sent / size : 0
    const [first] = this.seen, last = this.seen.at(-1)
    if (this.running && first && last[0] > first[0] && last[1] > first[1]) {
      const rate = (last[1] - first[1]) / (last[0] - first[0])
      numbers.push(`${bytes(Math.round(rate))}/s`, `${lasting((size - this.sent) / rate)} left`)
    }
    this.of("numbers").textContent = numbers.join(" · ")
    this.of("pause").hidden = !this.running
    this.of("resume").hidden = Boolean(this.running)
  }

  count(at) {
    const now = performance.now() / 1000
    this.sent = at
    this.seen.push([now, at])
    while (this.seen.length > 2 && now - this.seen[0][0] > RATE_OVER) this.seen.shift()
    this.show()
  }

  choose(file) {
    if (!file || this.running) return
    const wanted = Number(this.root.dataset.size || 0)
    if (!file.size) return this.say("This file is empty, or a folder. Choose a zip.")
    if (wanted && wanted !== file.size) return this.say(`The batch was made for a file of ${wanted.toLocaleString("en")} bytes, and this one has ${file.size.toLocaleString("en")}.`)
    this.file = file
    this.begin()
  }

  pause() {
    this.running?.abort()
    this.running = null
    this.show()
    this.say("Paused. Go on when you like, within the week that the upload URL works.")
    this.of("resume").focus()
  }

  async begin() {
    if (this.running || !this.file) return
    const mine = this.running = new AbortController()
    this.seen = []
    this.say("Looking how far it is …")
    this.show()
    try {
      const said = await this.alone(() => this.all(mine.signal))
      this.remember(null)
      this.running = null
      this.count(this.file.size)
      this.of("pause").hidden = this.of("resume").hidden = true
      this.say(said)
      setTimeout(() => location.reload(), 1500)
    } catch (error) {
      if (this.running === mine) this.running = null
      if (error instanceof Stopped) return
      this.show()
      this.say(error instanceof Told ? error.message : "Something failed in this page. Load it anew, and choose the file again.")
    }
  }

  // Two tabs would cut each other off.
  alone(work) {
    if (!navigator.locks) return work()
    return navigator.locks.request(this.key, { ifAvailable: true }, lock => {
      if (!lock) throw new Told("Another tab or window uploads to this batch already. Go on there.")
      return work()
    })
  }

  async all(signal) {
    const url = await this.url(signal)
    if (!url) return OVER
    let tries = 0, at = null
    for (;;) {
      const found = at === null ? await this.ask(url, signal) : await this.send(url, at, signal)
      if (found.done) return "Uploaded. The archive is being read now."
      if (found.gone) throw new Told(found.gone)
      if (found.again || found.at === at) {
        at = null // whatever arrived, it knows
        this.seen = []
        const seconds = wait(tries++)
        this.say(navigator.onLine ? `The line is bad: the next try is in ${lasting(seconds)}.` : "There is no line: it goes on by itself when there is.")
        await this.pauseFor(seconds, signal)
        // Where the answer to the last byte is lost, the batch says that its archive is there.
        if (!await this.url(signal)) return OVER
        continue
      }
      if (at === null) {
        const wrong = found.at > 0 ? other(this.before(), this.file) : ""
        if (wrong) throw new Told(wrong)
        if (found.at > this.file.size) throw new Told("This file is smaller than what was uploaded already: it is another one.")
        this.remember(this.file)
        this.say(found.at ? `It goes on at ${bytes(found.at)}.` : "Uploading.")
      }
      if (found.at > (at ?? -1)) tries = 0
      at = found.at
      this.count(at)
    }
  }

  // Null where the batch waits for no archive any more.
  async url(signal) {
    for (let tries = 0; ; tries++) {
      let answer = null
      try {
        answer = await fetch(this.root.dataset.url, { method: "POST", body: new URLSearchParams({ csrf: this.root.dataset.csrf }), headers: { Accept: "application/json" }, signal })
        if (answer.ok) return (await answer.json()).upload_url
      } catch { /* the line */ }
      if (signal.aborted) throw new Stopped()
      if (answer && answer.status === 401) throw new Told("Your session has ended. Load this page anew and sign in; the upload goes on where it was.")
      if (answer && answer.status === 409) return null
      if (answer && answer.status < 500 && answer.status !== 429) throw new Told("The upload URL cannot be had. Load this page anew.")
      await this.pauseFor(wait(tries), signal)
    }
  }

  ask(url, signal) {
    return this.put(url, null, `bytes */${this.file.size}`, 0, signal)
  }

  async send(url, at, signal) {
    const [start, end] = span(at, this.file.size)
    const piece = this.file.slice(start, end)
    const found = await this.put(url, piece, `bytes ${start}-${end - 1}/${this.file.size}`, start, signal)
    if (found.again) {
      // A file that was changed or taken away looks like a broken line.
      try { await piece.slice(0, 1).arrayBuffer() } catch {
        throw new Told("The file cannot be read any more: it was changed, moved or taken away. Choose it again.")
      }
    }
    return found
  }

  // XMLHttpRequest, since only it tells how much of a body was sent.
  put(url, piece, range, start, signal) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest()
      let timer
      const ends = found => { clearTimeout(timer); signal.removeEventListener("abort", stop); resolve(found) }
      const stop = () => { clearTimeout(timer); request.abort(); reject(new Stopped()) }
      const alive = () => { clearTimeout(timer); timer = setTimeout(() => { request.abort(); ends({ again: true }) }, SILENCE * 1000) }
      if (signal.aborted) return reject(new Stopped())
      signal.addEventListener("abort", stop)
      request.open("PUT", url)
      request.setRequestHeader("Content-Range", range)
      if (piece) request.upload.onprogress = event => { alive(); this.count(start + event.loaded) }
      request.onload = () => ends(standing(request.status, request.getResponseHeader("Range"), request.responseText, this.file.size))
      request.onerror = () => ends({ again: true })
      alive()
      request.send(piece)
    })
  }

  pauseFor(seconds, signal) {
    return new Promise((resolve, reject) => {
      const stop = () => { clearTimeout(timer); reject(new Stopped()) }
      const timer = setTimeout(() => { signal.removeEventListener("abort", stop); resolve() }, seconds * 1000)
      this.wake = () => { clearTimeout(timer); signal.removeEventListener("abort", stop); resolve() }
      signal.addEventListener("abort", stop)
    })
  }
}

const root = globalThis.document?.getElementById("upload")
if (root) new Upload(root)
