"""libcurl over GnuTLS (Debian's python3-pycurl, as git uses it): a handle per connection, in threads. order.py has
the arguments."""
import io
import sys

import pycurl

import order as orders

if "GnuTLS" not in pycurl.version:
    sys.exit("this pycurl is not built on GnuTLS: " + pycurl.version)
order = orders.Order(sys.argv[1:])


def work(worker):
    curl, at = None, None
    for number, name, sure in order.steps(worker):
        if number != at:
            if curl:
                curl.close()
            curl, at = pycurl.Curl(), number
            for option, value in ((pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0), (pycurl.NOSIGNAL, 1),
                                  (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1), (pycurl.TIMEOUT, 120),
                                  (pycurl.HTTPHEADER, ["Content-Type: text/plain", "Expect:"])):
                curl.setopt(option, value)
        body, heard = order.body(name), io.BytesIO()
        curl.setopt(pycurl.URL, order.base + order.path(name))
        curl.setopt(pycurl.POSTFIELDSIZE, len(body))
        curl.setopt(pycurl.COPYPOSTFIELDS, body)
        curl.setopt(pycurl.WRITEDATA, heard)
        curl.perform()
        if curl.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise AssertionError("%s: %d" % (name, curl.getinfo(pycurl.RESPONSE_CODE)))
        order.say(worker, name, sure, curl.getinfo(pycurl.LOCAL_PORT), body, heard.getvalue())
    curl.close()


orders.run_threads(order, work)
