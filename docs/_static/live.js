// Loads the studio where a page has one; studio.js finds its data and puts the live widget in its place.
(() => {
  const here = new URL('.', document.currentScript.src);
  document.addEventListener('DOMContentLoaded', () => {
    if (!document.querySelector('.lb-studio-data')) return;
    const script = document.createElement('script');
    script.src = new URL('studio.js', here);
    document.head.append(script);
  });
})();
