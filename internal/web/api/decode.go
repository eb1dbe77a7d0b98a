package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem/internal/masking"
)

// decode reads a JSON object into a struct, as strictly as the contract asks:
// a field has exactly its type (null is none, a fraction or 1e3
// is no integer), is named in exactly its letters and is given once. Unknown
// fields are ignored. A field without omitempty is required.
//
// Fields may be strings, bools, int64s, lists, structs, and pointers to these
// where absence means something. A refusal names the field, never its value.
func decode(body []byte, into any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	return decodeObject("", body, reflect.ValueOf(into).Elem())
}

// checkJSON refuses what is not one JSON document.
func checkJSON(body []byte) error {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return invalidBody("a JSON body is required")
	case !utf8.Valid(body):
		return invalidBody("the body is not UTF-8")
	case !json.Valid(body):
		return invalidBody("the body is not one JSON document")
	}
	return nil
}

func decodeObject(path string, raw []byte, into reflect.Value) error {
	members, err := membersOf(path, raw)
	if err != nil {
		return err
	}
	return decodeFields(path, members, into)
}

// decodeFields fills a struct; one that is embedded shares the object.
func decodeFields(path string, members map[string]json.RawMessage, into reflect.Value) error {
	t := into.Type()
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			if err := decodeFields(path, members, into.Field(i)); err != nil {
				return err
			}
			continue
		}
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		field := join(path, name)
		value, given := members[name]
		switch {
		case given:
			if err := decodeValue(field, value, into.Field(i)); err != nil {
				return err
			}
		case !strings.Contains(options, "omitempty"):
			return missingField(field, field+" is required")
		}
	}
	return nil
}

// membersOf splits a valid JSON object. Two members of one name are refused:
// which one was meant is not ours to guess.
func membersOf(path string, raw []byte) (map[string]json.RawMessage, error) {
	if b := bytes.TrimSpace(raw); b[0] != '{' {
		return nil, wrongType(path, "a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, invalidBody("the body is not one JSON document")
	}
	members := make(map[string]json.RawMessage, 8)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, invalidBody("the body is not one JSON document")
		}
		name, _ := key.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, invalidBody("the body is not one JSON document")
		}
		if _, twice := members[name]; twice {
			return nil, &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidBody,
				Message: "a field is given twice"}
		}
		members[name] = value
	}
	return members, nil
}

func decodeValue(field string, raw []byte, into reflect.Value) error {
	raw = bytes.TrimSpace(raw)
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return decodeValue(field, raw, into.Elem())
	case reflect.String:
		return decodeString(field, raw, into)
	case reflect.Bool:
		if raw[0] != 't' && raw[0] != 'f' {
			return wrongType(field, "true or false")
		}
		into.SetBool(raw[0] == 't')
		return nil
	case reflect.Int64:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return wrongType(field, "an integer")
		}
		into.SetInt(n)
		return nil
	case reflect.Slice:
		return decodeList(field, raw, into)
	case reflect.Struct:
		return decodeObject(field, raw, into)
	}
	panic(fmt.Sprintf("field %s: no way to read a %s", field, into.Type())) // a test reads every body type
}

// decodeString refuses what could not be given back as it came: a NUL, which
// not every store keeps, and half of a surrogate pair.
func decodeString(field string, raw []byte, into reflect.Value) error {
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return wrongType(field, "a string")
	}
	if strings.IndexByte(s, 0) >= 0 || halfPair(raw) {
		return invalidField(field, field+" holds a character that cannot be kept")
	}
	into.SetString(s)
	return nil
}

// halfPair finds a \u escape of a surrogate that has no partner (RFC 8259 §8.2).
func halfPair(raw []byte) bool {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		switch unit := escaped(raw[i:]); {
		case unit >= 0xD800 && unit < 0xDC00: // the first half
			if next := i + 5; next+1 >= len(raw) || raw[next] != '\\' || escaped(raw[next+1:])&0xFC00 != 0xDC00 {
				return true
			}
			i += 10
		case unit >= 0xDC00 && unit < 0xE000:
			return true
		}
	}
	return false
}

// escaped gives the code unit of "uXXXX" at the start of b, else 0.
func escaped(b []byte) uint64 {
	if len(b) < 5 || b[0] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(b[1:5]), 16, 16)
	if err != nil {
		return 0
	}
	return unit
}

func decodeList(field string, raw []byte, into reflect.Value) error {
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return wrongType(field, "a list")
	}
	out := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		// A wrong item is the fault of the list that holds it, but an object
		// in a list has fields of its own to blame.
		at := field
		if into.Type().Elem().Kind() == reflect.Struct {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		if err := decodeValue(at, item, out.Index(i)); err != nil {
			return err
		}
	}
	into.Set(out)
	return nil
}

func wrongType(field, want string) error {
	if field == "" {
		return invalidBody("the body must be " + want)
	}
	return invalidField(field, field+" must be "+want)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
