"use strict";
for (const input of document.querySelectorAll(".slider input")) {
  const move = () => {
    input.parentElement.style.setProperty("--cut", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${input.value} percent photo`);
  };
  input.addEventListener("input", move);
  move();
}
for (const input of document.querySelectorAll(".turn input")) {
  const sprite = input.parentElement.querySelector(".sprite");
  const move = () => {
    const part = (input.value - input.min) / (input.max - input.min);
    sprite.style.backgroundPositionX = `${100 * part}%`;
    input.setAttribute("aria-valuetext", `${input.value} degrees`);
  };
  input.addEventListener("input", move);
  move();
}
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  });
  document.querySelectorAll("video").forEach((video) => seen.observe(video));
}
