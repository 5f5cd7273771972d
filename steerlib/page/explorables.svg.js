// Helpers of the explorables: elements of SVG, numbers as the book writes them, and a drawing that keeps its text's size.
  function draw(tag, attributes, text) {
    var element = document.createElementNS('http:/' + '/www.w3.org/2000/svg', tag);
    Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function one(selector) { return root.querySelector(selector); }
  function signed(value, digits) { return (value < 0 ? '\u2212' : '') + Math.abs(value).toFixed(digits); }
  function whenSized(element, redraw) {
    redraw();
    if (window.ResizeObserver) new ResizeObserver(redraw).observe(element);
  }
