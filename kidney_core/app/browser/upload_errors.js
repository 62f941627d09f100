// Streamlit shows why an upload failed as the status of the answer, in the words of its library. Say it in words of the page.
if (!window.kidneyUploadErrors) {
  const said = SENTENCES;
  const PLACES = '[data-testid="stFileChip"] [role="alert"], [data-testid="stTooltipErrorContent"]';
  const RAW = /^(?:Error: )?Axios[E]rror: (?:Request failed with status code (\d+))?.*$/s;
  const rewrite = () => {
    for (const place of document.querySelectorAll(PLACES)) {
      const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const found = RAW.exec(texts.currentNode.nodeValue);
        if (found) texts.currentNode.nodeValue = said[found[1]] ?? said.lost;
      }
    }
  };
  window.kidneyUploadErrors = new MutationObserver(rewrite);
  window.kidneyUploadErrors.observe(document.body, { childList: true, subtree: true, characterData: true });
}
