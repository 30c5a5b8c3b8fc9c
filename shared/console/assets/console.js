// What moves on a page without being asked. Every page works without it.

const WAIT = 5, LONGEST = 60

// A section with `data-live` is fetched anew from this page's own address while it has that attribute.
let wait = WAIT
async function refresh() {
  const sections = document.querySelectorAll("[data-live]")
  if (!sections.length) return
  if (!document.hidden && !busy()) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" })
      if (answer.type === "opaqueredirect") return ended(sections[0])
      if (!answer.ok) throw new Error(answer.status)
      replace(sections, await answer.text())
      wait = WAIT
    } catch {
      wait = Math.min(wait * 2, LONGEST)
    }
  }
  setTimeout(refresh, wait * 1000)
}

// Whoever is led away from here is not signed in any more.
function ended(section) {
  const said = document.createElement("p"), again = document.createElement("a")
  again.href = location.href
  again.textContent = "Sign in again"
  said.className = "notice warn"
  said.setAttribute("role", "status")
  said.append("Your session has ended, so this page does not move any more. ", again, ".")
  section.before(said)
}

// Nothing is taken from under whoever is in it: a field, an open menu, a selection.
function busy() {
  const at = document.activeElement
  return Boolean(at && at.closest("[data-live]") && at.matches("input, select, textarea"))
}

function replace(sections, html) {
  const page = new DOMParser().parseFromString(html, "text/html")
  for (const old of sections) {
    const fresh = page.getElementById(old.id)
    if (!fresh || fresh.isEqualNode(old)) continue
    const open = [...old.querySelectorAll("details")].map(each => each.open)
    const focused = place(old, document.activeElement)
    old.replaceWith(fresh)
    fresh.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? each.open })
    if (focused !== null) fresh.querySelectorAll("a, button, summary, pre")[focused]?.focus()
  }
}

function place(section, element) {
  const at = [...section.querySelectorAll("a, button, summary, pre")].indexOf(element)
  return at < 0 ? null : at
}

// A form with `data-preview` shows in the sections named by `data-shows` what its values would make. The page
// at that address answers the whole form anew; what is typed stays.
function preview(form) {
  let timer, latest = 0
  const ask = async () => {
    const mine = ++latest
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "error" })
      if (!answer.ok && answer.status !== 422) return
      const page = new DOMParser().parseFromString(await answer.text(), "text/html")
      if (mine !== latest) return
      for (const id of form.dataset.shows.split(" ")) {
        const old = document.getElementById(id), fresh = page.getElementById(id)
        if (!old || !fresh || old.contains(document.activeElement) || fresh.isEqualNode(old)) continue
        old.replaceWith(fresh)
      }
    } catch { /* the next change asks again */ }
  }
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 400) })
  form.addEventListener("change", () => { clearTimeout(timer); ask() })
}

// A form is sent once, however often its button is pressed; coming back to the page, it can be sent again.
document.addEventListener("submit", event => {
  const form = event.target
  if (form.method !== "post") return
  if (form.dataset.sent) return event.preventDefault()
  form.dataset.sent = "true"
})
addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach(each => delete each.dataset.sent))

for (const form of document.querySelectorAll("form[data-preview]")) preview(form)
setTimeout(refresh, WAIT * 1000)
document.documentElement.classList.add("scripted")
