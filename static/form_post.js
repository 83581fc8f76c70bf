/* Sends the answer to the app, as the button does. */
"use strict";
document.forms[0].submit();
