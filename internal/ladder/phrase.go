package ladder

import "net/http"

// phrases are the reason phrases that SIP does not have of HTTP.
var phrases = map[int]string{100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	199: "Early Dialog Terminated", 200: "OK", 202: "Accepted", 302: "Moved Temporarily", 380: "Alternative Service",
	414: "Request-URI Too Long", 416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required",
	422: "Session Interval Too Small", 423: "Interval Too Brief", 428: "Use Identity Header", 433: "Anonymity Disallowed",
	436: "Bad Identity Info", 437: "Unsupported Credential", 438: "Invalid Identity Header", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
	485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
	491: "Request Pending", 493: "Undecipherable", 494: "Security Agreement Required", 500: "Server Internal Error",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted",
	608: "Rejected"}

// Phrase is the reason phrase of a status (RFC 3261 §21 and those that add to it);
// "" for one that none of them names.
func Phrase(status int) string {
	switch status {
	case 300, 301, 305, 400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 415, 501, 502, 503:
		return http.StatusText(status)
	}
	return phrases[status]
}
