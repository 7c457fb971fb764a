// Lets the search work on pages opened as files, where browsers refuse workers: a hidden frame takes the worker's place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      this.scope = this.frame.contentWindow;
      // Inside, the worker's own words for loading scripts and for talking to the page.
      this.scope.importScripts = (...addresses) =>
        addresses.reduce((before, one) => before.then(() => this.load(one)), Promise.resolve());
      this.scope.postMessage = (data) => this.tell(this, data);
      this.load(address).then(() => {
        this.loaded = true;
        this.waiting.splice(0).forEach((data) => this.tell(this.scope, data));
      });
    }

    load(address) {
      return new Promise((done, failed) => {
        const script = this.frame.contentDocument.createElement("script");
        script.src = new URL(address, location.href);
        script.onload = done;
        script.onerror = failed;
        this.frame.contentDocument.head.append(script);
      });
    }

    tell(listener, data) {
      const message = new MessageEvent("message", { data });
      listener.dispatchEvent(message);
      if (listener === this && this.onmessage) this.onmessage(message);
    }

    postMessage(data) {
      if (this.loaded) this.tell(this.scope, data);
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
