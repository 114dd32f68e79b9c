// What buttons beside an item do to its picture or recording.
"use strict";
function act(what, around) {  // around: the part of the page that holds one item
  const picture = around.querySelector(".picture");
  const sound = around.querySelector("audio");
  if (what === "zoom") {
    picture.dataset.zoom = String(Number(picture.dataset.zoom) % 3 + 1);
    const box = picture.querySelector(".doubted.over");
    if (box) box.scrollIntoView({ block: "center", inline: "center" });
  }
  if (what === "marks") picture.classList.toggle("bare");
  if (what === "again") sound.currentTime = 0;
  if (what === "again" || (what === "play" && sound.paused)) sound.play();
  else if (what === "play") sound.pause();
}
