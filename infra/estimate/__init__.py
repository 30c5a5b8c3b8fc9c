"""What a month of Waybill costs, and which limit is met first: `python -m infra estimate`.

usage     what customers do in a month
charges   what each function is charged for, counted from the code's own constants
prices    the list prices, and what they come to
limits    the limits of Google Cloud and of Waybill, and which is met first where the usage grows
"""
