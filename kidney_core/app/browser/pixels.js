// Pixels as the server sends them, and as the screen shows them.
async function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const buffer = await new Response(plain).arrayBuffer();
  return kind === 'int16' ? new Int16Array(buffer) : new Uint8Array(buffer);
}

function colorTable(anchors) {
  const table = new Uint8Array(256 * 3), last = anchors.length - 1;
  for (let value = 0; value < 256; value++) {
    const position = value / 255 * last, low = Math.min(last - 1, Math.floor(position)), part = position - low;
    for (let channel = 0; channel < 3; channel++)
      table[3 * value + channel] = Math.round(anchors[low][channel] * (1 - part) + anchors[low + 1][channel] * part);
  }
  return table;
}

// Values through a window as grey levels, (height, width).
function greyPicture(pixels, { width, height, inverted, gain, offset }, { center, width: span }) {
  const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer);
  const low = (center - span / 2 - offset) / gain, perStep = 255 * gain / span;
  for (let i = 0; i < pixels.length; i++) {
    let grey = (pixels[i] - low) * perStep;
    grey = grey < 0 ? 0 : grey > 255 ? 255 : Math.round(grey);
    if (inverted) grey = 255 - grey;
    out[i] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
  return image;
}

// Evidence of 0 to 255 times a gain as colours; the weaker, the clearer.
function heatPicture(values, { heatWidth, heatHeight }, table, gain) {
  const image = new ImageData(heatWidth, heatHeight), out = image.data;
  values.forEach((raw, i) => {
    const value = Math.min(255, raw * gain), at = 3 * Math.round(value);
    out[4 * i] = table[at]; out[4 * i + 1] = table[at + 1]; out[4 * i + 2] = table[at + 2];
    out[4 * i + 3] = Math.min(255, value * 1.6);
  });
  return image;
}
