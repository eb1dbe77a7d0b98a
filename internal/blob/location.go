package blob

import (
	"errors"
	"net/url"
	"strings"
)

// The schemes of the stores that are built in.
const (
	folderScheme = "file:"
	s3Scheme     = "s3:"
)

// Check says what is wrong with the URL of a store, without opening anything; nil
// for one that Open can take. The credentials of S3 come from elsewhere, and are
// looked at when it is opened. No error quotes the URL: a wrong one may hold a key.
func Check(rawURL string) error {
	if strings.HasPrefix(rawURL, folderScheme) {
		return nil
	}
	_, err := locate(rawURL)
	return err
}

// location is where a store in S3 is.
type location struct {
	bucket, prefix, region string
	endpoint               *url.URL
}

// locate reads the URL of a store in S3.
func locate(rawURL string) (l location, err error) {
	if !strings.HasPrefix(rawURL, s3Scheme) {
		return l, errors.New("wants file:PATH or s3://BUCKET?endpoint=https://HOST:PORT")
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return l, errors.New("is no URL") // the error would quote it
	}
	query, err := url.ParseQuery(u.RawQuery)
	l.bucket, l.prefix = u.Host, strings.Trim(u.Path, "/")
	switch {
	case u.User != nil:
		return l, errCredentials
	case u.Host == "" || u.Opaque != "":
		return l, errors.New("names no bucket: wants s3://BUCKET?endpoint=https://HOST:PORT")
	case u.Fragment != "" || strings.Contains(rawURL, "#"):
		return l, errors.New("holds a #, behind which nothing counts")
	case CheckKey(l.bucket) != nil || l.prefix != "" && CheckKey(l.prefix) != nil:
		return l, errors.New("bucket and prefix may hold letters, digits, dots, hyphens, underscores and slashes, and no part may begin with a dot")
	case err != nil:
		return l, errors.New("the parameters behind the ? cannot be read")
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" {
			return l, errors.New("has a parameter other than endpoint and region")
		}
		if len(values) > 1 {
			return l, errors.New("has the parameter " + name + " twice")
		}
	}
	l.region = query.Get("region")
	l.endpoint, err = endpointOf(query.Get("endpoint"))
	return l, err
}

// endpointOf reads where a server of S3 is.
func endpointOf(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("names no endpoint: wants s3://BUCKET?endpoint=https://HOST:PORT")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the endpoint wants the form https://HOST:PORT or http://HOST:PORT")
	case u.User != nil:
		return nil, errCredentials
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return nil, errors.New("the endpoint may hold no path and no parameters: a prefix belongs behind the bucket")
	}
	return u, nil
}

var errCredentials = errors.New("holds credentials: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
