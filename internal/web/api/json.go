package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
)

// envelope is the shape of every success (published).
type envelope[T any] struct {
	Response T `json:"response"`
}

// list is the shape of every list.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor" doc:"gives the next page; empty when there is none"`
}

// newList never holds null, and a cursor only if more follows.
func newList[F, T any](found []F, present func(F) T, more bool, cursor func(F) string) list[T] {
	l := list[T]{Items: make([]T, len(found))}
	for i, f := range found {
		l.Items[i] = present(f)
	}
	if more && len(found) > 0 {
		l.NextCursor = cursor(found[len(found)-1])
	}
	return l
}

// encode writes JSON without escaping <, > and &: what an application stored
// is what it reads. The values are structs of ours, which always encode.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// render makes an answer of a response.
func render[T any](status int, response T) control.Answer {
	return control.Answer{Status: status, Body: encode(envelope[T]{response})}
}

// reply is an answer that is bytes already: as a rule it was rendered inside
// the transaction that made it. T is what the document says of it.
type reply[T any] struct{ body []byte }

// Schema describes the reply (huma.SchemaProvider).
func (reply[T]) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Required: []string{"response"},
		Properties: map[string]*huma.Schema{"response": r.Schema(reflect.TypeFor[T](), true, "")}}
}

func (r reply[T]) bytes() []byte { return r.body }

// document is a request body that is still bytes; T is what decode makes of
// it and what the document says of it.
type document[T any] struct{ body []byte }

// Schema describes the body (huma.SchemaProvider).
func (document[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

func (d *document[T]) take(body []byte) { d.body = bytes.Clone(body) }

// decode reads the body as T, strictly.
func (d *document[T]) decode() (T, error) {
	var v T
	err := decode(d.body, &v)
	return v, err
}

// batch is a request body that is a list of up to maxBatch objects, each judged by
// itself: one that is wrong does not keep the others from being read.
type batch[T any] struct{ body []byte }

const maxBatch = 100

// Schema describes the body (huma.SchemaProvider).
func (batch[T]) Schema(r huma.Registry) *huma.Schema {
	least, most := 1, maxBatch
	return &huma.Schema{Type: huma.TypeArray, MinItems: &least, MaxItems: &most, Items: r.Schema(reflect.TypeFor[T](), true, "")}
}

func (b *batch[T]) take(body []byte) { b.body = bytes.Clone(body) }

// items splits the list.
func (b *batch[T]) items() ([]json.RawMessage, error) {
	if err := checkJSON(b.body); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if bytes.TrimSpace(b.body)[0] != '[' || json.Unmarshal(b.body, &items) != nil {
		return nil, invalidBody("the body must be a list")
	}
	if len(items) == 0 || len(items) > maxBatch {
		return nil, invalidBody(fmt.Sprintf("the list must hold 1 to %d updates", maxBatch))
	}
	return items, nil
}

// marshal and unmarshal are huma's JSON: replies go out and documents come in
// as they are.
func marshal(w io.Writer, v any) error {
	b, ready := v.(interface{ bytes() []byte })
	if ready {
		_, err := w.Write(b.bytes())
		return err
	}
	_, err := w.Write(encode(v))
	return err
}

func unmarshal(body []byte, into any) error {
	if d, ok := into.(interface{ take([]byte) }); ok {
		d.take(body)
		return nil
	}
	return json.Unmarshal(body, into)
}
