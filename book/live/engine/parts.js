// The first file of the engine. Every other one is a part: a function that adds what it makes to `SteerLive`.
//
// Classic scripts rather than modules, because a page opened from a file may not load modules; and functions rather than
// bare statements, because their text, put together, is also the program of the worker (`interface.js`).
var SteerLive = { parts: [] };
SteerLive.part = function (define) {
  SteerLive.parts.push(define);
  define(SteerLive);
};
