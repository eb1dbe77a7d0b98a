package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/masking"
)

// MaxBody is the bound of a body, for tests.
const MaxBody = maxBody

// MaxAudio is the bound of a sound, for tests.
const MaxAudio = maxAudio

// AttemptsAtOnce is the bound of failed attempts, for tests.
const AttemptsAtOnce = attemptsAtOnce

// Declared gives the OpenAPI document as huma holds it, for asking which operations
// there are.
func Declared() *huma.OpenAPI {
	s := &server{mux: http.NewServeMux()}
	return s.routes().OpenAPI()
}

// RefusalWords and CauseWords are what is said of a reason and of a cause, for tests.
func RefusalWords(why masking.Refusal) string { return refusalWords(why) }
func CauseWords(c masking.Cause) string       { return causeWords(c) }
