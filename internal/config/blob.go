package config

import (
	"errors"
	"net/url"
	"strings"
)

// The stores for recordings that are built in.
const (
	blobScheme = "file:"
	s3Scheme   = "s3:"
)

// setBlobURL takes what the blob store opens. It repeats no value: a wrong one may
// hold a key.
func setBlobURL(c *Config, v string) error {
	if strings.HasPrefix(v, s3Scheme) {
		if err := checkBucket(v); err != nil {
			return err
		}
		c.BlobURL = v
		return nil
	}
	path, ok := strings.CutPrefix(v, blobScheme)
	if !ok {
		return errors.New("wants file:PATH or s3://BUCKET?endpoint=https://HOST:PORT")
	}
	if err := setPath(&path, path); err != nil {
		return err
	}
	c.BlobURL = blobScheme + path
	return nil
}

// checkBucket says what is wrong with the URL of a store in S3, so that a server
// does not first start and then cannot keep what it records. The credentials come
// from the environment, where they are checked when the store is opened.
func checkBucket(v string) error {
	u, err := url.Parse(v)
	if err != nil {
		return errors.New("is no URL") // the error would quote it
	}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case u.User != nil:
		return errors.New("holds credentials: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Host == "" || u.Opaque != "":
		return errors.New("names no bucket: wants s3://BUCKET?endpoint=https://HOST:PORT")
	case u.Fragment != "" || strings.Contains(v, "#"):
		return errors.New("holds a #, behind which nothing counts")
	case !isKey(u.Host) || strings.Trim(u.Path, "/") != "" && !isKey(strings.Trim(u.Path, "/")):
		return errors.New("bucket and prefix may hold letters, digits, dots, hyphens, underscores and slashes, and no part may begin with a dot")
	case err != nil:
		return errors.New("the parameters behind the ? cannot be read")
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" {
			return errors.New("has a parameter other than endpoint and region")
		}
		if len(values) > 1 {
			return errors.New("has the parameter " + name + " twice")
		}
	}
	return checkEndpoint(query.Get("endpoint"))
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("names no endpoint: wants s3://BUCKET?endpoint=https://HOST:PORT")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the endpoint wants the form https://HOST:PORT or http://HOST:PORT")
	case u.User != nil:
		return errors.New("the endpoint holds credentials: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return errors.New("the endpoint may hold no path and no parameters: a prefix belongs behind the bucket")
	}
	return nil
}

// isKey reports whether the store can have it in a key: segments between slashes.
func isKey(text string) bool {
	if len(text) > 512 {
		return false
	}
	for segment := range strings.SplitSeq(text, "/") {
		if segment == "" || segment[0] == '.' || len(segment) > 200 || strings.ContainsFunc(segment, foreign) {
			return false
		}
	}
	return true
}

func foreign(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}
