// Search when a page is opened from the disk (file://), where browsers start no Web Worker: the worker's script runs in
// a hidden frame instead. In place of https://unpkg.com/iframe-worker, which the theme would load from outside.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = this.onerror = null
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      inside.postMessage = message => {
        const data = structuredClone(message) // as a real worker: nothing is shared
        setTimeout(() => {
          const event = new MessageEvent("message", { data })
          this.dispatchEvent(event)
          if (this.onmessage) this.onmessage(event)
        })
      }
      const load = source => new Promise((resolve, reject) => {
        const script = inside.document.createElement("script")
        script.src = source
        script.onload = resolve
        script.onerror = reject
        inside.document.body.appendChild(script)
      })
      inside.importScripts = (...sources) =>
        sources.reduce((earlier, source) => earlier.then(() => load(source)), Promise.resolve())
      this.ready = load(url)
    }
    postMessage(data) {
      this.ready.then(() => {
        const inside = this.frame.contentWindow
        const event = new inside.MessageEvent("message", { data: structuredClone(data) })
        inside.dispatchEvent(event)
      })
    }
    terminate() {
      this.frame.remove()
    }
  }
}
