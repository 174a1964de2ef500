// Applies the colours that the user chose, before anything is drawn.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("ethogram-theme"); } catch { /* storage is switched off */ }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
