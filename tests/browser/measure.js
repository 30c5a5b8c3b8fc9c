// What cannot be read on a page as it stands: a function for Playwright's `evaluate`, which returns lists of words.
(longestWord) => {
  const found = { scrolls: 0, cut: [], spilled: [], covered: [], broken: [] }
  const root = document.documentElement
  found.scrolls = Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth

  const named = (element) => {
    const classes = typeof element.className === "string" ? element.className.trim().replace(/\s+/g, ".") : ""
    return element.tagName.toLowerCase() + (element.id ? "#" + element.id : "") + (classes ? "." + classes : "")
  }
  const told = (text, element) => `${JSON.stringify(text.trim().slice(0, 40))} in ${named(element)}`

  // Hidden from sight on purpose, for screen readers alone.
  const unseen = (element) => {
    if (!element.checkVisibility({ contentVisibilityAuto: true })) return true // of closed details
    for (let each = element; each && each !== document.body; each = each.parentElement) {
      const style = getComputedStyle(each), box = each.getBoundingClientRect()
      if (style.visibility !== "visible" || style.opacity === "0") return true
      const clips = style.overflowX !== "visible" || style.clipPath !== "none" || style.clip !== "auto"
      if (clips && (box.width <= 1 || box.height <= 1)) return true
      if (box.right < 0 || box.bottom + scrollY < 0) return true
    }
    return false
  }
  const block = (element) => {
    let each = element
    while (each.parentElement && getComputedStyle(each).display.startsWith("inline") &&
           getComputedStyle(each).display === "inline") each = each.parentElement
    return each
  }

  const lines = []
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) {
    const node = texts.currentNode, element = node.parentElement
    if (!node.data.trim() || element.closest("script, style, template, textarea, select, noscript")) continue
    const range = document.createRange()
    range.selectNodeContents(node)
    const rects = [...range.getClientRects()].filter((each) => each.width > 0.5 && each.height > 0.5)
    if (!rects.length || unseen(element)) continue
    const drawn = element.closest("svg") !== null

    // Cut by an ancestor that hides what does not fit. One that scrolls does not hide.
    for (let each = element; each && each !== root; each = each.parentElement) {
      const style = getComputedStyle(each), box = each.getBoundingClientRect()
      const hides = (overflow) => overflow === "hidden" || overflow === "clip"
      const scrolls = /auto|scroll/.test(style.overflowX)
      const beyondX = rects.some((rect) => rect.right > box.right + 1.5 || rect.left < box.left - 1.5)
      const beyondY = rects.some((rect) => rect.bottom > box.bottom + 2.5 || rect.top < box.top - 2.5)
      if ((hides(style.overflowX) && beyondX) || (hides(style.overflowY) && beyondY)) {
        found.cut.push(told(node.data, each))
        break
      }
      if (scrolls) break
    }

    // Out of the box that it stands in.
    const box = block(element)
    if (!drawn && box !== document.body && !/auto|scroll/.test(getComputedStyle(box).overflowX)) {
      // Spaces at the end of a line hang out of it where they are kept.
      const right = box.getBoundingClientRect().right + (getComputedStyle(box).whiteSpace === "pre-wrap" ? 10 : 1.5)
      if (rects.some((rect) => rect.right > right)) found.spilled.push(told(node.data, box))
    }

    for (const rect of rects) lines.push({ node, element, rect })

    for (const token of node.data.matchAll(/\S+/g)) {
      // An address, an id, and what is longer than any column must be broken somewhere.
      if (token[0].length > longestWord || /\d|:\/\//.test(token[0])) continue
      for (const word of token[0].matchAll(/\p{L}+/gu)) {
        if (drawn) continue
        const start = token.index + word.index
        range.setStart(node, start)
        range.setEnd(node, start + word[0].length)
        const tops = [...range.getClientRects()].filter((each) => each.width > 0.5).map((each) => Math.round(each.top))
        if (tops.length > 1 && Math.max(...tops) - Math.min(...tops) > 6) found.broken.push(told(word[0], element))
      }
    }
  }

  // Text that lies on other text.
  lines.sort((one, other) => one.rect.top - other.rect.top)
  for (let first = 0; first < lines.length; first++) {
    for (let second = first + 1; second < lines.length; second++) {
      const one = lines[first], other = lines[second]
      if (other.rect.top > one.rect.bottom) break
      if (one.node === other.node) continue
      const width = Math.min(one.rect.right, other.rect.right) - Math.max(one.rect.left, other.rect.left)
      const height = Math.min(one.rect.bottom, other.rect.bottom) - Math.max(one.rect.top, other.rect.top)
      if (width > 2 && height > 5) {
        found.covered.push(`${told(one.node.data, one.element)} and ${told(other.node.data, other.element)}`)
      }
    }
  }
  return found
}
