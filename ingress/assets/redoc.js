Redoc.init("/openapi.json", { hideHostname: true }, document.getElementById("page"));
