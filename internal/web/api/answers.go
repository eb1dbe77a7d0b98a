package api

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// refusals are the statuses of refusals, and how the document names each answer.
// Every operation refers to them: one that could be refused otherwise would be
// documented in two ways.
func refusals() map[string]string {
	return map[string]string{"400": "Invalid", "401": "Unauthorized", "404": "NotFound", "409": "Conflict",
		"416": "InvalidRange", "429": "TooManyRequests", "500": "InternalError", "503": "Unavailable"}
}

const problemSchema = "#/components/schemas/Problem"

// documentedRefusals are the answers that refusals name.
func documentedRefusals() map[string]*huma.Response {
	answers := map[string]*huma.Response{}
	for status, name := range refusals() {
		code, err := strconv.Atoi(status)
		if err != nil {
			panic(err) // a table of ours
		}
		answers[name] = &huma.Response{Description: http.StatusText(code), Headers: map[string]*huma.Header{"X-Request-Id": sharedHeader("X-Request-Id")},
			Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: problemSchema}}}}
	}
	answers["Unauthorized"].Headers["WWW-Authenticate"] = textHeader("the kind of credentials that are wanted")
	answers["InvalidRange"].Headers["Content-Range"] = textHeader("how long the file is")
	wait := func(required bool) *huma.Header {
		return countHeader("seconds to wait before asking again", required, 1)
	}
	answers["Unavailable"].Headers["Retry-After"] = wait(true)
	answers["TooManyRequests"].Headers["Retry-After"] = wait(true)
	answers["Conflict"].Headers["Retry-After"] = wait(false)
	return answers
}

// documentedHeaders are those that answers of many operations have.
func documentedHeaders() map[string]*huma.Header {
	id := textHeader("names this exchange in the server's log; the client's own, if it sent one")
	id.Schema.MaxLength = new(64)
	return map[string]*huma.Header{
		"X-Request-Id":        id,
		"RateLimit-Limit":     countHeader("requests that may come at once", true, 1),
		"RateLimit-Remaining": countHeader("how many of them are left", true, 0),
		"RateLimit-Reset":     countHeader("seconds until all are there again", true, 0),
	}
}

func sharedHeader(name string) *huma.Header {
	return &huma.Header{Ref: "#/components/headers/" + name}
}

func textHeader(doc string) *huma.Header {
	return &huma.Header{Description: doc, Required: true, Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1)}}
}

func countHeader(doc string, required bool, least float64) *huma.Header {
	return &huma.Header{Description: doc, Required: required, Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least}}
}

// documentAnswers completes what the document says of an operation's answers:
// what the guard before it does and what every answer has.
func documentAnswers(_ *huma.OpenAPI, op *huma.Operation) {
	for status, answer := range op.Responses {
		if name := refusals()[status]; name != "" {
			op.Responses[status] = &huma.Response{Ref: "#/components/responses/" + name}
			continue
		}
		if answer.Headers == nil {
			answer.Headers = map[string]*huma.Header{}
		}
		answer.Headers["X-Request-Id"] = sharedHeader("X-Request-Id")
		if schemeOf(op) == tenantScheme {
			for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
				answer.Headers[name] = sharedHeader(name)
			}
		}
	}
}
