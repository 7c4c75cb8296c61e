"""requests: a session per connection, in threads. order.py has the arguments."""
import sys

import requests
import urllib3

import order as orders

urllib3.disable_warnings()
order = orders.Order(sys.argv[1:])


def work(worker):
    session, at = None, None
    for number, name, sure in order.steps(worker):
        if number != at:
            if session:
                session.close()
            session, at = requests.Session(), number
        body = order.body(name)
        answer = session.post(order.base + order.path(name), data=body, verify=False, timeout=120,
                              headers={"Content-Type": "text/plain"})
        answer.raise_for_status()
        order.say(worker, name, sure, answer.headers["x-port"], body, answer.content)
    session.close()


orders.run_threads(order, work)
