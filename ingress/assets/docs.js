SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  // Nothing is sent to anybody else's validator.
  validatorUrl: null,
});
